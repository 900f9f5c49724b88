#include "report/page.h"

#include <limits>

#include "report/markup.h"
#include "support/errors.h"

namespace incontext::report {
namespace {

using testing::contains;
using testing::markup_fault;

const std::string kHostile = "</title></td><img src=x onerror=alert(1)>&'\"\x01";

Page example(const std::string& text) {
  Page page{.title = text, .lead = text};
  Section section{.heading = text, .paragraphs = {text, text}};
  Plot plot{.title = text};
  plot.x.label = plot.y.label = text;
  plot.curves = {{.curve = {.name = text, .points = {{1, 1, 1, 1, 1}, {2, 0.25, 0.125, 0.5, 3}}}}};
  section.plots = {plot, plot};
  section.tables = {
      {.title = text, .columns = {text, "n"}, .rows = {{text, "1"}}, .alignment = {Align::left, Align::right}}};
  section.folded_tables = section.tables;
  page.sections = {section, section};
  return page;
}

TEST(Page, TheCheckerSeesFaults) {
  EXPECT_EQ(markup_fault("<!DOCTYPE html><a x=\"1\"><b/><meta y='>'><style>a > b {}</style></a>"), "");
  EXPECT_NE(markup_fault("<a><b></a></b>"), "");
  EXPECT_NE(markup_fault("<a>"), "");
  EXPECT_NE(markup_fault("</a>"), "");
  EXPECT_NE(markup_fault("<a x=\"></a>"), "");
  EXPECT_NE(markup_fault("<a id='1'/><b id = '1'/>"), "");
  EXPECT_NE(markup_fault("<a xlink:href='#gone'/>"), "");
  EXPECT_NE(markup_fault("<a>1 < 2</a>"), "");
}

TEST(Page, IsWellFormedAndNeedsNoOtherFile) {
  const std::string html = render_page(example("Looped transformer"));
  EXPECT_EQ(markup_fault(html), "");
  EXPECT_TRUE(html.starts_with("<!DOCTYPE html>"));
  EXPECT_CONTAINS(html, "prefers-color-scheme: dark");
  EXPECT_CONTAINS(html, "<h2>Looped transformer</h2>");
  EXPECT_CONTAINS(html, "<td class=\"number\">1</td>");
  for (const char* outside : {"<script", "<link", "src=", "url(", "@import", "http://", "https://"}) {
    std::string rest = html;
    // The names of XML's vocabularies look like addresses but are never fetched.
    for (const char* vocabulary : {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}) {
      for (size_t at = rest.find(vocabulary); at != std::string::npos; at = rest.find(vocabulary)) {
        rest.erase(at, std::string(vocabulary).size());
      }
    }
    EXPECT_FALSE(contains(rest, outside)) << outside;
  }
}

TEST(Page, RemarksOfNumbersStandBelowThem) {
  Table table{.columns = {"run", "error"}, .rows = {{"a (b)", "0.2 (0.1 to <0.3)"}}, .alignment = {Align::left}};
  table.alignment.push_back(Align::right);
  const std::string html = render_page({.title = "t", .sections = {{.heading = "h", .tables = {table}}}});
  EXPECT_CONTAINS(html, "<td>a (b)</td><td class=\"number\">0.2<span class=\"remark\"> (0.1 to &lt;0.3)</span></td>");
  EXPECT_CONTAINS(html, ".remark { display: block;");
  EXPECT_EQ(testing::markup_fault(html), "");
}

TEST(Page, EscapesHostileText) {
  const std::string html = render_page(example(kHostile));
  EXPECT_EQ(markup_fault(html), "");
  EXPECT_FALSE(contains(html, "<img"));
  EXPECT_FALSE(contains(html, "\x01"));
  EXPECT_CONTAINS(html, "<h2>&lt;/title&gt;&lt;/td&gt;&lt;img src=x onerror=alert(1)&gt;&amp;&#39;&quot;</h2>");
}

TEST(Page, HoldsTheDataBehindAPlot) {
  const std::string html = render_page(example("x"));
  EXPECT_CONTAINS(html, "<summary>Data behind this plot</summary>");
  EXPECT_CONTAINS(html, "<td class=\"number\">0.125</td>");
  const Table data = data_table(example("x").sections[0].plots[0]);
  ASSERT_EQ(data.rows.size(), 2U);
  EXPECT_EQ(data.rows[1], (std::vector<std::string>{"x", "2", "0.25", "0.125", "0.5", "3"}));
}

TEST(Page, APlotWithoutPointsIsASentence) {
  Page page = example("x");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  page.sections[0].plots[0].curves[0].curve.points = {{1, nan, nan, nan, 1}};
  const std::string html = render_page(page);
  EXPECT_EQ(markup_fault(html), "");
  EXPECT_CONTAINS(html, "there is no finite point to draw");
}

}  // namespace
}  // namespace incontext::report
