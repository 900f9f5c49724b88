#include "report/table.h"

#include "base/text.h"
#include "support/errors.h"

namespace incontext::report {
namespace {

Table example_table() {
  return {.title = "Errors",
          .columns = {"run", "value"},
          .rows = {{"a,b", "1.5"}, {"größe|x", "-10"}},
          .alignment = {Align::left, Align::right}};
}

TEST(Table, AlignsForTheTerminal) {
  EXPECT_EQ(to_terminal(example_table(), 80),
            "Errors\n"
            "run      value\n"
            "-------  -----\n"
            "a,b        1.5\n"
            "größe|x    -10\n");
}

TEST(Table, FitsTheWidth) {
  Table table = example_table();
  table.title = std::string(50, 't');
  table.rows.push_back({std::string(60, 'x'), "3"});
  table.rows.push_back({"two\nlines\x1b[31m", "4"});
  for (const size_t width : {80U, 40U, 20U, 10U, 3U}) {
    for (const std::string& line : base::split(to_terminal(table, width), '\n')) {
      EXPECT_LE(base::display_width(line), width) << line;
      EXPECT_EQ(line, base::printable(line));
    }
  }
  EXPECT_CONTAINS(to_terminal(table, 40), "xxxxx…") << "the long column is cut";
  EXPECT_CONTAINS(to_terminal(table, 40), "  value\n") << "the short one is not";
}

TEST(Table, LeavesOutRemarksBeforeItCutsCells) {
  const Table table{.columns = {"run", "error"},
                    .rows = {{"looped", "0.0312 (0.0280 to 0.0350)"}, {"least squares", "1e-12"}},
                    .alignment = {Align::left, Align::right}};
  EXPECT_CONTAINS(to_terminal(table, 60), "looped         0.0312 (0.0280 to 0.0350)\n");
  EXPECT_CONTAINS(to_terminal(table, 39), "looped         0.0312\nleast squares   1e-12\n");
}

TEST(Table, WritesMarkdown) {
  EXPECT_EQ(to_markdown(example_table()),
            "**Errors**\n\n"
            "| run | value |\n"
            "| --- | ---: |\n"
            "| a,b | 1.5 |\n"
            "| größe\\|x | -10 |\n");
}

TEST(Table, WritesCsv) { EXPECT_EQ(to_csv(example_table()), "run,value\n\"a,b\",1.5\ngröße|x,-10\n"); }

TEST(Table, RefusesRowsOfAnotherLength) {
  Table table = example_table();
  table.rows.push_back({"alone"});
  const std::string expected = "table 'Errors': expected 2 cells in every row, got 1";
  EXPECT_EQ(testing::error_of([&] { to_terminal(table, 80); }), expected);
  EXPECT_EQ(testing::error_of([&] { to_markdown(table); }), expected);
  EXPECT_EQ(testing::error_of([&] { to_csv(table); }), expected);
}

TEST(Table, FormatsNumbers) {
  EXPECT_EQ(format_number(0.031234), "0.0312");
  EXPECT_EQ(format_number(1.2e-5), "1.2e-05");
  EXPECT_EQ(format_number(std::numeric_limits<double>::quiet_NaN()), "nan");
}

}  // namespace
}  // namespace incontext::report
