#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace incontext::report {

enum class Align { left, right };

/// Text in rows and columns. Every row has as many cells as there are columns; columns without an alignment are
/// aligned to the left.
struct Table {
  std::string title = {};
  std::vector<std::string> columns = {};
  std::vector<std::vector<std::string>> rows = {};
  std::vector<Align> alignment = {};

  Align align_of(size_t column) const { return column < alignment.size() ? alignment[column] : Align::left; }
};

/// Columns two spaces apart, without boxes, in lines of at most `width` characters. Where the table is wider, columns
/// of cells "value (remark)" lose their remarks, and then the widest columns are cut.
std::string to_terminal(const Table& table, size_t width);

/// A table of GitHub's Markdown under its title.
std::string to_markdown(const Table& table);

/// Header line and rows as CSV, without the title.
std::string to_csv(const Table& table);

/// A cell "value (remark)" without its remark, which goes to `remark`; any other cell as it is.
std::string without_remark(const std::string& cell, std::string* remark = nullptr);

/// Three significant digits: "0.0312", "1.2e-05", "nan".
std::string format_number(double value);

}  // namespace incontext::report
