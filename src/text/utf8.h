#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace incontext::text {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

/// One code point and the bytes it takes.
struct CodePoint {
  char32_t value = 0;
  size_t size = 0;
};

/// The code point at `position` of valid UTF-8; `position` must lie on a code point's first byte.
CodePoint code_point_at(std::string_view text, size_t position);

/// The code point that ends just before `position` (> 0) of valid UTF-8.
CodePoint code_point_before(std::string_view text, size_t position);

void append_utf8(std::string& text, char32_t code_point);

/// How many bytes at the beginning of `bytes` are a whole code point (`valid`), or are to be replaced by one U+FFFD:
/// the longest beginning of a code point, or one byte. `incomplete` when the bytes end before the code point does, so
/// that more bytes could still complete it.
struct Utf8Step {
  size_t size = 0;
  bool valid = false;
  bool incomplete = false;
};
Utf8Step next_utf8(std::string_view bytes);

bool is_valid_utf8(std::string_view bytes);

/// The bytes with everything that is not UTF-8 replaced by U+FFFD, one for each longest beginning of a code point (as
/// the Unicode standard recommends and Rust and Python do).
std::string to_valid_utf8(std::string_view bytes);

size_t count_code_points(std::string_view text);

/// Unicode's White_Space.
bool is_whitespace(char32_t code_point);
/// General category P, or one of ASCII's !"#$%&'()*+,-./:;<=>?@[\]^_`{|}~.
bool is_punctuation(char32_t code_point);
/// General category N: digits, letters and other signs of numbers.
bool is_numeric(char32_t code_point);
/// General category M.
bool is_mark(char32_t code_point);
/// What Python writes as it is: no controls, no white space but the blank, nothing unassigned or of private use.
bool is_printable(char32_t code_point);
/// What regular expressions call \w: alphabetic, mark, decimal digit or connector.
bool is_word(char32_t code_point);

}  // namespace incontext::text
