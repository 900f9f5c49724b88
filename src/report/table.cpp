#include "report/table.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/csv.h"
#include "base/error.h"
#include "base/text.h"

namespace incontext::report {
namespace {

constexpr size_t kGap = 2;
constexpr size_t kNarrowestColumn = 6;

void check_shape(const Table& table) {
  for (const auto& row : table.rows) {
    base::check(row.size() == table.columns.size(), "table '{}': expected {} cells in every row, got {}", table.title,
                table.columns.size(), row.size());
  }
}

std::vector<size_t> natural_widths(const Table& table) {
  std::vector<size_t> widths;
  for (size_t column = 0; column < table.columns.size(); ++column) {
    size_t widest = base::display_width(table.columns[column]);
    for (const auto& row : table.rows) widest = std::max(widest, base::display_width(row[column]));
    widths.push_back(widest);
  }
  return widths;
}

size_t total_width(const std::vector<size_t>& widths) {
  return std::accumulate(widths.begin(), widths.end(), widths.empty() ? 0 : kGap * (widths.size() - 1));
}

// Half a remark is worse than none: where a table is too wide, remarks go first, from the widest column on.
Table fit_remarks(Table table, size_t width) {
  while (true) {
    const std::vector<size_t> widths = natural_widths(table);
    if (total_width(widths) <= width) return table;
    size_t widest = widths.size();
    for (size_t column = 0; column < widths.size(); ++column) {
      const bool has_remarks = std::any_of(table.rows.begin(), table.rows.end(),
                                           [&](const auto& row) { return without_remark(row[column]) != row[column]; });
      if (has_remarks && (widest == widths.size() || widths[column] > widths[widest])) widest = column;
    }
    if (widest == widths.size()) return table;
    for (auto& row : table.rows) row[widest] = without_remark(row[widest]);
  }
}

std::vector<size_t> column_widths(const Table& table, size_t width) {
  std::vector<size_t> widths = natural_widths(table);
  size_t total = total_width(widths);
  while (total > width) {
    const auto widest = std::max_element(widths.begin(), widths.end());
    if (*widest <= kNarrowestColumn) break;
    --*widest;
    --total;
  }
  return widths;
}

std::string terminal_line(const Table& table, const std::vector<std::string>& cells, const std::vector<size_t>& widths,
                          size_t width) {
  std::string line;
  for (size_t column = 0; column < cells.size(); ++column) {
    const std::string cell = base::clip(base::printable(cells[column]), widths[column]);
    const std::string padding(widths[column] - base::display_width(cell), ' ');
    if (column > 0) line += std::string(kGap, ' ');
    line += table.align_of(column) == Align::right ? padding + cell : cell + padding;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return base::clip(line, width) + "\n";
}

std::string markdown_line(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) {
    line += ' ';
    for (const char c : base::printable(cell)) line += c == '|' ? "\\|" : std::string(1, c);
    line += " |";
  }
  return line + "\n";
}

}  // namespace

std::string to_terminal(const Table& whole, size_t width) {
  check_shape(whole);
  const Table table = fit_remarks(whole, width);
  const std::vector<size_t> widths = column_widths(table, width);
  std::string out;
  if (!table.title.empty()) out += base::clip(base::printable(table.title), width) + "\n";
  out += terminal_line(table, table.columns, widths, width);
  std::vector<std::string> rules;
  rules.reserve(widths.size());
  for (const size_t column : widths) rules.emplace_back(column, '-');
  out += terminal_line(table, rules, widths, width);
  for (const auto& row : table.rows) out += terminal_line(table, row, widths, width);
  return out;
}

std::string to_markdown(const Table& table) {
  check_shape(table);
  std::string out;
  if (!table.title.empty()) out += "**" + base::printable(table.title) + "**\n\n";
  out += markdown_line(table.columns);
  std::vector<std::string> rules;
  rules.reserve(table.columns.size());
  for (size_t column = 0; column < table.columns.size(); ++column) {
    rules.emplace_back(table.align_of(column) == Align::right ? "---:" : "---");
  }
  out += markdown_line(rules);
  for (const auto& row : table.rows) out += markdown_line(row);
  return out;
}

std::string to_csv(const Table& table) {
  check_shape(table);
  std::string out = base::csv_line(table.columns);
  for (const auto& row : table.rows) out += base::csv_line(row);
  return out;
}

std::string without_remark(const std::string& cell, std::string* remark) {
  const size_t begin = cell.ends_with(')') ? cell.find(" (") : std::string::npos;
  if (begin == std::string::npos) return cell;
  if (remark != nullptr) *remark = cell.substr(begin + 2, cell.size() - begin - 3);
  return cell.substr(0, begin);
}

std::string format_number(double value) { return fmt::format("{:.3g}", value); }

}  // namespace incontext::report
