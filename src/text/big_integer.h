#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace incontext::text {

/// A whole number of any size, as Python's int. Whoever makes one bounds its size: sums take linear time in bits(),
/// products, quotients and texts quadratic.
class BigInteger {
 public:
  BigInteger() = default;
  explicit BigInteger(int64_t value);

  /// Digits of a base from 2 to 36, with a sign before them or none; nothing when the text is something else.
  static std::optional<BigInteger> parse(std::string_view text, int base = 10);
  /// A finite number without its fraction.
  static BigInteger truncated(double value);

  std::optional<int64_t> small() const;
  /// The nearest double, infinite beyond the largest.
  double real() const;
  /// Digits in lower case, behind a minus where it is negative.
  std::string text(int base = 10) const;

  bool negative() const { return negative_; }
  bool zero() const { return limbs_.empty(); }
  bool odd() const { return !limbs_.empty() && (limbs_[0] & 1) != 0; }
  /// The bits of the absolute value.
  size_t bits() const;

  /// Negative, 0 or positive.
  static int compare(const BigInteger& left, const BigInteger& right);
  static BigInteger sum(const BigInteger& left, const BigInteger& right);
  static BigInteger product(const BigInteger& left, const BigInteger& right);
  /// The quotient rounded down, and what is left, which has the sign of the divisor (not 0): Python's // and %.
  static std::pair<BigInteger, BigInteger> divided(const BigInteger& left, const BigInteger& right);
  BigInteger negated() const;

  bool operator==(const BigInteger&) const = default;

 private:
  using Limbs = std::vector<uint32_t>;  // the lowest first, the highest not 0

  BigInteger(bool negative, Limbs limbs);
  static int compare_sizes(const Limbs& left, const Limbs& right);
  static Limbs sum_of(const Limbs& left, const Limbs& right);
  static Limbs difference_of(const Limbs& larger, const Limbs& smaller);
  static std::pair<Limbs, Limbs> quotient_of(const Limbs& left, const Limbs& right);
  static uint32_t divide_by(Limbs& limbs, uint32_t divisor);
  static void add_digits(Limbs& limbs, uint32_t factor, uint32_t addend);

  bool negative_ = false;
  Limbs limbs_;
};

}  // namespace incontext::text
