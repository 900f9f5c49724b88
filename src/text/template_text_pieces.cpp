#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "text/template_functions.h"
#include "text/utf8.h"

namespace incontext::text {

std::string strip_text(std::string_view text, std::string_view characters, bool left, bool right) {
  std::vector<char32_t> wanted;
  for (size_t i = 0; i < characters.size(); i += code_point_at(characters, i).size) {
    wanted.push_back(code_point_at(characters, i).value);
  }
  std::sort(wanted.begin(), wanted.end());
  const auto goes = [&](const CodePoint& c) {
    if (wanted.empty()) return is_python_space(c.value);
    return std::binary_search(wanted.begin(), wanted.end(), c.value);
  };
  size_t begin = 0, end = text.size();
  while (left && begin < end) {
    const CodePoint c = code_point_at(text, begin);
    if (!goes(c)) break;
    begin += c.size;
  }
  while (right && end > begin) {
    const CodePoint c = code_point_before(text, end);
    if (!goes(c)) break;
    end -= c.size;
  }
  return std::string(text.substr(begin, end - begin));
}

std::string replace_in(const std::string& text, const std::string& from, const std::string& to, int64_t count,
                       TemplateBudget& budget) {
  std::string out;
  if (from.empty()) {  // Python puts the new text before every character and at the end
    for (size_t i = 0; i < text.size();) {
      const size_t size = code_point_at(text, i).size;
      if (count != 0) {
        budget.charge_bytes(to.size());
        out += to;
        --count;
      }
      out.append(text, i, size);
      i += size;
    }
    if (count != 0) out += to;
    return out;
  }
  size_t done = 0;
  for (size_t at = find_in(text, from); at != std::string::npos && count != 0; at = find_in(text, from, done)) {
    budget.charge_bytes(to.size() + at - done);
    out.append(text, done, at - done);
    out += to;
    done = at + from.size();
    --count;
  }
  return out + text.substr(done);
}

size_t find_in(std::string_view text, std::string_view wanted, size_t from) {
  // For a byte alone, looking ends where it is found; sanitizers look through all that memmem() is given, every time.
  if (wanted.size() == 1) return text.find(wanted[0], from);
  // The C library's search takes linear time, that of std::string the product of both lengths.
  const void* found =
      from > text.size() ? nullptr : ::memmem(text.data() + from, text.size() - from, wanted.data(), wanted.size());
  return found == nullptr ? std::string_view::npos : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t find_last_in(std::string_view text, std::string_view wanted) {
  const std::string backwards(text.rbegin(), text.rend()), wanted_backwards(wanted.rbegin(), wanted.rend());
  const size_t found = find_in(backwards, wanted_backwards);
  return found == std::string_view::npos ? found : text.size() - found - wanted.size();
}

std::vector<std::string> lines_of(std::string_view text, bool keep_ends) {
  const auto ends_line = [](char32_t c) {
    return (c >= '\n' && c <= '\r') || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
  };
  std::vector<std::string> out;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    size_t end = i + c.size;
    if (ends_line(c.value)) {
      if (c.value == '\r' && end < text.size() && text[end] == '\n') ++end;
      out.emplace_back(text.substr(begin, (keep_ends ? end : i) - begin));
      begin = end;
    }
    i = end;
  }
  if (begin < text.size()) out.emplace_back(text.substr(begin));
  return out;
}

namespace {

// The text of a number without the white space around it and the underscores that Python lets stand between digits;
// nothing where they stand elsewhere.
std::optional<std::string> number_text(const std::string& text) {
  std::string out;
  const std::string stripped = strip_text(text, "", true, true);
  for (size_t i = 0; i < stripped.size(); ++i) {
    if (stripped[i] != '_') {
      out += stripped[i];
      continue;
    }
    const auto is_digit = [&](size_t at) {
      return at < stripped.size() && std::isalnum(static_cast<unsigned char>(stripped[at])) != 0;
    };
    if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) return std::nullopt;
  }
  return out;
}

}  // namespace

std::optional<BigInteger> whole_number_in(const std::string& text, int base) {
  auto digits = number_text(text);
  if (!digits || digits->size() > kMaxDigits + 1) return std::nullopt;
  const size_t sign = digits->starts_with('-') || digits->starts_with('+') ? 1 : 0;
  // Base 0 reads it off the beginning; others let the beginning of their own stand.
  for (const auto& [own, letters] : {std::pair(16, "xX"), std::pair(8, "oO"), std::pair(2, "bB")}) {
    const std::string_view beginning = std::string_view(*digits).substr(sign, 2);
    if ((base != own && base != 0) || beginning.size() < 2 || beginning[0] != '0') continue;
    if (beginning[1] != letters[0] && beginning[1] != letters[1]) continue;
    digits->erase(sign, 2);
    base = own;
    break;
  }
  return BigInteger::parse(*digits, base == 0 ? 10 : base);
}

std::optional<double> real_number_in(const std::string& text) {
  const auto found = number_text(text);
  if (!found) return std::nullopt;
  std::string digits = lower_text(*found);
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.erase(0, 1);
  double out = 0;
  if (digits == "inf" || digits == "infinity") {
    out = std::numeric_limits<double>::infinity();
  } else if (digits == "nan") {
    out = std::numeric_limits<double>::quiet_NaN();
  } else {
    if (digits.empty() || digits.find_first_not_of("0123456789.e+-") != std::string::npos) return std::nullopt;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    if (result.ptr != digits.data() + digits.size() || digits[0] == '-') return std::nullopt;
    // Too large or too small for a double: as C reads it, infinity or 0.
    if (result.ec == std::errc::result_out_of_range)
      out = std::strtod(digits.c_str(), nullptr);
    else if (result.ec != std::errc{})
      return std::nullopt;
  }
  return negative ? -out : out;
}

}  // namespace incontext::text
