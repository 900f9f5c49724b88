#include "report/table_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace incontext::report {

std::string value_with_range(const Point& point) {
  if (!(point.low < point.high)) return format_number(point.y);
  return fmt::format("{} ({} to {})", format_number(point.y), format_number(point.low), format_number(point.high));
}

std::string value_with_range(const base::Record& record) {
  return value_with_range(Point{.y = record.value, .low = record.low, .high = record.high, .count = 1});
}

void lift_constant_columns(Table& table, const std::set<std::string>& candidates) {
  std::vector<std::string> lifted;
  for (size_t column = table.columns.size(); column-- > 0;) {
    const std::string value = table.rows.empty() ? "" : table.rows[0][column];
    const bool constant =
        std::all_of(table.rows.begin(), table.rows.end(), [&](const auto& row) { return row[column] == value; });
    if (!constant || candidates.count(table.columns[column]) == 0) continue;
    if (!value.empty()) lifted.insert(lifted.begin(), table.columns[column] + " " + value);
    for (auto& row : table.rows) row.erase(row.begin() + static_cast<std::ptrdiff_t>(column));
    table.columns.erase(table.columns.begin() + static_cast<std::ptrdiff_t>(column));
    table.alignment.erase(table.alignment.begin() + static_cast<std::ptrdiff_t>(column));
  }
  if (!lifted.empty()) table.title += " (" + fmt::format("{}", fmt::join(lifted, ", ")) + ")";
}

}  // namespace incontext::report
