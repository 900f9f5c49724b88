#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace incontext::base {

/// Number of single-character insertions, deletions, substitutions and neighbour swaps between two words.
int edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word`, or "" when none is near enough to be a likely misspelling.
std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates);

/// "a, b and c".
std::string enumerate_names(const std::vector<std::string>& names);

std::vector<std::string> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);
/// The number that the digits of the text are; nothing where it is anything else.
std::optional<int64_t> whole_number(std::string_view text);
/// Whether the whole text has the form of a pattern, in which * stands for any characters and ? for one.
bool matches_pattern(std::string_view text, std::string_view pattern);

/// The text with every control character (line ends too) replaced by a space, fit for one line of a terminal.
std::string printable(std::string_view text);

/// Columns that UTF-8 text takes on a terminal, counting every code point as one.
size_t display_width(std::string_view text);

/// The first `width` columns of UTF-8 text, the last of them an ellipsis where something is cut off.
std::string clip(std::string_view text, size_t width);

/// "42 s", "3 min 05 s", "2 h 07 min".
std::string format_duration(double seconds);

/// "1.5 MiB".
std::string format_bytes(double bytes);

}  // namespace incontext::base
