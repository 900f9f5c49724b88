#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace incontext::base {

/// A field as RFC 4180 wants it: in double quotes when it holds a comma, a quote, a line end or outer spaces.
std::string csv_field(std::string_view text);

/// Fields joined by commas, with the line's end.
std::string csv_line(const std::vector<std::string>& fields);

}  // namespace incontext::base
