#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "report/plot.h"
#include "report/table.h"

namespace incontext::report {

/// The text with the five characters that HTML gives meaning replaced, and control characters dropped.
std::string escape_html(std::string_view text);

/// What follows a section's heading, in this order.
struct Section {
  std::string heading = {};
  std::vector<std::string> paragraphs = {};
  std::vector<Plot> plots = {};  // each with its points in a table to unfold
  std::vector<Table> tables = {};
  std::vector<Table> folded_tables = {};  // shown on request, under their titles
};

struct Page {
  std::string title = {};
  std::string lead = {};
  std::vector<Section> sections = {};
};

/// One HTML file that needs no other: styles and pictures are inside, there are no scripts, and it follows the
/// reader's choice of a light or dark page. All text is escaped. A plot without a finite point is replaced by a
/// sentence that says so.
std::string render_page(const Page& page);

/// The points of a plot as a table.
Table data_table(const Plot& plot);

}  // namespace incontext::report
