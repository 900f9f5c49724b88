#include "text/big_integer.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace incontext::text {
namespace {

void trim(std::vector<uint32_t>& limbs) {
  while (!limbs.empty() && limbs.back() == 0) limbs.pop_back();
}

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 99;
}

// The largest power of a base that 32 bits hold, and its exponent.
std::pair<uint32_t, size_t> largest_power(int base) {
  uint64_t power = static_cast<uint64_t>(base);
  size_t exponent = 1;
  while (power * static_cast<uint64_t>(base) <= UINT32_MAX) {
    power *= static_cast<uint64_t>(base);
    ++exponent;
  }
  return {static_cast<uint32_t>(power), exponent};
}

}  // namespace

BigInteger::BigInteger(bool negative, Limbs limbs) : negative_(negative), limbs_(std::move(limbs)) {
  trim(limbs_);
  if (limbs_.empty()) negative_ = false;
}

BigInteger::BigInteger(int64_t value) : negative_(value < 0) {
  const uint64_t size = value < 0 ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
  limbs_ = {static_cast<uint32_t>(size), static_cast<uint32_t>(size >> 32)};
  trim(limbs_);
}

std::optional<BigInteger> BigInteger::parse(std::string_view text, int base) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty()) return std::nullopt;
  const size_t at_once = largest_power(base).second;
  Limbs limbs;
  for (size_t i = 0; i < text.size(); i += at_once) {
    uint32_t factor = 1, addend = 0;
    for (const char c : text.substr(i, at_once)) {
      const int digit = digit_of(c);
      if (digit >= base) return std::nullopt;
      factor *= static_cast<uint32_t>(base);
      addend = addend * static_cast<uint32_t>(base) + static_cast<uint32_t>(digit);
    }
    add_digits(limbs, factor, addend);
  }
  return BigInteger(negative, std::move(limbs));
}

BigInteger BigInteger::truncated(double value) {
  int exponent = 0;
  const double fraction = std::frexp(std::trunc(value), &exponent);
  // 53 bits of the number, and how far they are shifted.
  const BigInteger mantissa(static_cast<int64_t>(std::ldexp(fraction, 53)));
  const int shift = exponent - 53;
  if (shift <= 0) return BigInteger(static_cast<int64_t>(std::trunc(value)));
  Limbs limbs(static_cast<size_t>(shift) / 32, 0);
  const unsigned rest = static_cast<unsigned>(shift) % 32;
  uint64_t carry = 0;
  for (const uint32_t limb : mantissa.limbs_) {
    const uint64_t shifted = (static_cast<uint64_t>(limb) << rest) | carry;
    limbs.push_back(static_cast<uint32_t>(shifted));
    carry = shifted >> 32;
  }
  limbs.push_back(static_cast<uint32_t>(carry));
  return {mantissa.negative_, std::move(limbs)};
}

std::optional<int64_t> BigInteger::small() const {
  if (limbs_.size() > 2) return std::nullopt;
  uint64_t size = 0;
  for (size_t i = 0; i < limbs_.size(); ++i) size |= static_cast<uint64_t>(limbs_[i]) << (32 * i);
  const uint64_t most = static_cast<uint64_t>(INT64_MAX) + (negative_ ? 1 : 0);
  if (size > most) return std::nullopt;
  return static_cast<int64_t>(negative_ ? ~size + 1 : size);
}

size_t BigInteger::bits() const {
  return limbs_.empty() ? 0 : 32 * limbs_.size() - static_cast<size_t>(std::countl_zero(limbs_.back()));
}

double BigInteger::real() const {
  const size_t size = bits();
  // The highest 64 bits; whether anything is left below them decides halves.
  const size_t shift = size > 64 ? size - 64 : 0;
  uint64_t top = 0;
  bool rest = false;
  for (size_t i = 0; i < limbs_.size(); ++i) {
    const std::ptrdiff_t place = static_cast<std::ptrdiff_t>(32 * i) - static_cast<std::ptrdiff_t>(shift);
    const uint64_t limb = limbs_[i];
    if (place >= 0) {
      top |= limb << place;
    } else if (place > -32) {
      top |= limb >> -place;
      rest = rest || (limb & ((uint64_t{1} << -place) - 1)) != 0;
    } else {
      rest = rest || limb != 0;
    }
  }
  if (rest) top |= 1;
  const double out = std::ldexp(static_cast<double>(top), static_cast<int>(std::min<size_t>(shift, 100'000)));
  return negative_ ? -out : out;
}

std::string BigInteger::text(int base) const {
  if (limbs_.empty()) return "0";
  const auto [power, digits] = largest_power(base);
  std::string out;  // backwards
  Limbs left = limbs_;
  while (!left.empty()) {
    uint32_t part = divide_by(left, power);
    for (size_t i = 0; i < digits; ++i) {
      out += "0123456789abcdefghijklmnopqrstuvwxyz"[part % static_cast<uint32_t>(base)];
      part /= static_cast<uint32_t>(base);
    }
  }
  out.erase(out.find_last_not_of('0') + 1);
  if (negative_) out += '-';
  std::reverse(out.begin(), out.end());
  return out;
}

int BigInteger::compare(const BigInteger& left, const BigInteger& right) {
  if (left.negative_ != right.negative_) return left.negative_ ? -1 : 1;
  const int sizes = compare_sizes(left.limbs_, right.limbs_);
  return left.negative_ ? -sizes : sizes;
}

BigInteger BigInteger::sum(const BigInteger& left, const BigInteger& right) {
  if (left.negative_ == right.negative_) return {left.negative_, sum_of(left.limbs_, right.limbs_)};
  if (compare_sizes(left.limbs_, right.limbs_) < 0) return sum(right, left);
  return {left.negative_, difference_of(left.limbs_, right.limbs_)};
}

BigInteger BigInteger::product(const BigInteger& left, const BigInteger& right) {
  Limbs out(left.limbs_.size() + right.limbs_.size(), 0);
  for (size_t i = 0; i < left.limbs_.size(); ++i) {
    uint64_t carry = 0;
    for (size_t j = 0; j < right.limbs_.size(); ++j) {
      carry += static_cast<uint64_t>(left.limbs_[i]) * right.limbs_[j] + out[i + j];
      out[i + j] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    out[i + right.limbs_.size()] = static_cast<uint32_t>(carry);
  }
  return {left.negative_ != right.negative_, std::move(out)};
}

std::pair<BigInteger, BigInteger> BigInteger::divided(const BigInteger& left, const BigInteger& right) {
  auto [quotient, remainder] = quotient_of(left.limbs_, right.limbs_);
  BigInteger whole(left.negative_ != right.negative_, std::move(quotient));
  BigInteger rest(left.negative_, std::move(remainder));
  if (!rest.zero() && left.negative_ != right.negative_) {
    whole = sum(whole, BigInteger(-1));
    rest = sum(rest, right);
  }
  return {std::move(whole), std::move(rest)};
}

BigInteger BigInteger::negated() const { return {!negative_, limbs_}; }

int BigInteger::compare_sizes(const Limbs& left, const Limbs& right) {
  if (left.size() != right.size()) return left.size() < right.size() ? -1 : 1;
  for (size_t i = left.size(); i-- > 0;) {
    if (left[i] != right[i]) return left[i] < right[i] ? -1 : 1;
  }
  return 0;
}

BigInteger::Limbs BigInteger::sum_of(const Limbs& left, const Limbs& right) {
  Limbs out;
  uint64_t carry = 0;
  for (size_t i = 0; i < std::max(left.size(), right.size()) || carry != 0; ++i) {
    carry += i < left.size() ? left[i] : 0;
    carry += i < right.size() ? right[i] : 0;
    out.push_back(static_cast<uint32_t>(carry));
    carry >>= 32;
  }
  return out;
}

BigInteger::Limbs BigInteger::difference_of(const Limbs& larger, const Limbs& smaller) {
  Limbs out = larger;
  int64_t borrow = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t limb = static_cast<int64_t>(out[i]) - borrow - (i < smaller.size() ? static_cast<int64_t>(smaller[i]) : 0);
    borrow = limb < 0 ? 1 : 0;
    if (limb < 0) limb += int64_t{1} << 32;
    out[i] = static_cast<uint32_t>(limb);
  }
  return out;
}

// Knuth's algorithm D (The Art of Computer Programming, volume 2, 4.3.1).
std::pair<BigInteger::Limbs, BigInteger::Limbs> BigInteger::quotient_of(const Limbs& left, const Limbs& right) {
  if (compare_sizes(left, right) < 0) return {{}, left};
  if (right.size() == 1) {
    Limbs quotient = left;
    const uint32_t rest = divide_by(quotient, right[0]);
    return {std::move(quotient), rest == 0 ? Limbs{} : Limbs{rest}};
  }
  // Both are shifted so that the divisor's highest bit is set.
  const auto shift = static_cast<unsigned>(std::countl_zero(right.back()));
  const auto shifted = [shift](const Limbs& limbs) {
    Limbs out;
    uint64_t carry = 0;
    for (const uint32_t limb : limbs) {
      const uint64_t wide = (static_cast<uint64_t>(limb) << shift) | carry;
      out.push_back(static_cast<uint32_t>(wide));
      carry = wide >> 32;
    }
    out.push_back(static_cast<uint32_t>(carry));
    return out;
  };
  Limbs rest = shifted(left), divisor = shifted(right);
  divisor.pop_back();
  const size_t size = divisor.size();
  Limbs quotient(rest.size() - size, 0);
  for (size_t j = quotient.size(); j-- > 0;) {
    const uint64_t top = (static_cast<uint64_t>(rest[j + size]) << 32) | rest[j + size - 1];
    uint64_t guess = top / divisor[size - 1], over = top % divisor[size - 1];
    while (guess >> 32 != 0 || guess * divisor[size - 2] > ((over << 32) | rest[j + size - 2])) {
      --guess;
      over += divisor[size - 1];
      if (over >> 32 != 0) break;
    }
    int64_t borrow = 0;
    uint64_t carry = 0;
    for (size_t i = 0; i <= size; ++i) {
      carry += i < size ? guess * divisor[i] : 0;
      const int64_t limb = static_cast<int64_t>(rest[i + j]) - borrow - static_cast<int64_t>(carry & 0xFFFFFFFF);
      carry >>= 32;
      rest[i + j] = static_cast<uint32_t>(limb);
      borrow = limb < 0 ? 1 : 0;
    }
    if (borrow != 0) {  // one too many
      --guess;
      uint64_t back = 0;
      for (size_t i = 0; i <= size; ++i) {
        back += static_cast<uint64_t>(rest[i + j]) + (i < size ? divisor[i] : 0);
        rest[i + j] = static_cast<uint32_t>(back);
        back >>= 32;
      }
    }
    quotient[j] = static_cast<uint32_t>(guess);
  }
  for (size_t i = 0; i < rest.size(); ++i) {
    const uint64_t above = i + 1 < rest.size() ? rest[i + 1] : 0;
    rest[i] = static_cast<uint32_t>(((above << 32) | rest[i]) >> shift);
  }
  trim(rest);
  return {std::move(quotient), std::move(rest)};
}

uint32_t BigInteger::divide_by(Limbs& limbs, uint32_t divisor) {
  uint64_t rest = 0;
  for (size_t i = limbs.size(); i-- > 0;) {
    rest = (rest << 32) | limbs[i];
    limbs[i] = static_cast<uint32_t>(rest / divisor);
    rest %= divisor;
  }
  trim(limbs);
  return static_cast<uint32_t>(rest);
}

void BigInteger::add_digits(Limbs& limbs, uint32_t factor, uint32_t addend) {
  uint64_t carry = addend;
  for (uint32_t& limb : limbs) {
    carry += static_cast<uint64_t>(limb) * factor;
    limb = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  if (carry != 0) limbs.push_back(static_cast<uint32_t>(carry));
}

}  // namespace incontext::text
