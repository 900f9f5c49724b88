#pragma once

#include <string>
#include <string_view>

namespace incontext::text {

// What Python's str says of characters, and its changes of case. (Regular expressions and normalizers follow other
// libraries, see utf8.h and normalizer.h.)

bool is_python_space(char32_t c);
bool is_python_letter(char32_t c);
bool is_python_decimal(char32_t c);
/// Also ² and ①.
bool is_python_digit(char32_t c);
/// Also ½ and 三.
bool is_python_numeric(char32_t c);
bool is_python_lower(char32_t c);
bool is_python_upper(char32_t c);
bool is_python_title(char32_t c);
bool begins_python_name(char32_t c);

std::string upper_text(std::string_view text);
/// A Σ that ends a word becomes ς.
std::string lower_text(std::string_view text);
std::string casefold_text(std::string_view text);
std::string swapcase_text(std::string_view text);
/// The first character in title case, the others in lower case.
std::string capitalized(std::string_view text);
/// A letter behind something that is none in title case, every other in lower case.
std::string title_text(std::string_view text);

}  // namespace incontext::text
