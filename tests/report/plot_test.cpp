#include "report/plot.h"

#include <filesystem>
#include <limits>

#include "report/markup.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::report {
namespace {

using testing::error_of;
using testing::markup_fault;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

Plot example_plot() {
  Plot plot{.title = "Errors"};
  plot.x.label = "examples";
  plot.y.label = "error";
  plot.curves = {
      {.curve = {.name = "looped", .points = {{1, 1, 0.8, 1.2, 3}, {2, 0.5, 0.4, 0.6, 3}}}},
      {.curve = {.name = "ridge", .points = {{1, 0.9, 0.9, 0.9, 1}, {2, 0.3, 0.3, 0.3, 1}}}, .reference = true}};
  return plot;
}

int count_of(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Plot, DrawsCurvesBandsAndLabels) {
  const std::string svg = render_svg(example_plot(), "p-");
  EXPECT_EQ(markup_fault(svg), "");
  EXPECT_TRUE(svg.starts_with("<svg"));
  EXPECT_EQ(count_of(svg, "<polygon"), 1) << "one band, as only one curve has a spread";
  for (const char* label : {">looped<", ">ridge<", ">examples<", ">error<"}) EXPECT_CONTAINS(svg, label);
  EXPECT_CONTAINS(svg, "aria-label=\"Errors\"");
  EXPECT_CONTAINS(svg, "stroke-dasharray") << "references are dashed";
  EXPECT_CONTAINS(svg, "id='p-gpPt1'");
}

TEST(Plot, TakesItsColoursAndSizeFromThePage) {
  const std::string svg = render_svg(example_plot(), "p-");
  EXPECT_FALSE(testing::contains(svg, "black"));
  EXPECT_CONTAINS(svg, "currentColor");
  EXPECT_FALSE(testing::contains(svg.substr(0, svg.find('>')), "width="));
}

TEST(Plot, TwoPlotsShareNoIds) {
  EXPECT_EQ(markup_fault("<div>" + render_svg(example_plot(), "a-") + render_svg(example_plot(), "b-") + "</div>"), "");
  EXPECT_NE(markup_fault("<div>" + render_svg(example_plot(), "a-") + render_svg(example_plot(), "a-") + "</div>"), "");
}

TEST(Plot, HostileNamesStayText) {
  const testing::TemporaryDirectory directory;
  const std::string pwned = (directory / "pwned").string();
  Plot plot = example_plot();
  const std::string hostile = "</text><script>'\"`touch " + pwned + "` _{x}^2 @term \\n & %d\n$x";
  plot.title = plot.x.label = plot.y.label = plot.curves[0].curve.name = hostile;
  plot.markers = {{1.5, hostile}};
  const std::string svg = render_svg(plot, "p-");
  EXPECT_EQ(markup_fault(svg), "");
  EXPECT_FALSE(testing::contains(svg, "<script"));
  EXPECT_CONTAINS(svg, "_{x}^2 @term \\n &amp; %d $x");
  EXPECT_FALSE(std::filesystem::exists(pwned));
}

TEST(Plot, LogarithmicAxesLeaveOutWhatIsNotPositive) {
  Plot plot = example_plot();
  plot.y.logarithmic = true;
  plot.curves[0].curve.points = {{1, 1e-8, -1, 1e-7, 2}, {2, 0, 0, 0, 2}, {3, 1, 0.5, 2, 2}};
  EXPECT_EQ(markup_fault(render_svg(plot, "p-")), "");
  plot.curves.resize(1);
  plot.curves[0].curve.points = {{1, 0, 0, 0, 1}, {2, -1, -1, -1, 1}};
  EXPECT_FALSE(drawable(plot));
  EXPECT_EQ(error_of([&] { render_svg(plot, "p-"); }), "plot 'Errors': expected at least one finite point above zero");
}

TEST(Plot, NaNAndInfinitiesAreLeftOut) {
  Plot plot = example_plot();
  plot.curves[0].curve.points.push_back({3, kNaN, kNaN, kNaN, 1});
  plot.curves[1].curve.points.push_back({3, 1 / 0.0, 0, 1 / 0.0, 1});
  const std::string svg = render_svg(plot, "p-");
  EXPECT_FALSE(testing::contains(svg, "nan"));
  EXPECT_FALSE(testing::contains(svg, "inf"));
  for (PlotCurve& item : plot.curves) item.curve.points = {{1, kNaN, kNaN, kNaN, 1}};
  EXPECT_FALSE(drawable(plot));
  EXPECT_FALSE(drawable(Plot{}));
}

TEST(Plot, ManyCurvesAndMarkersStillDraw) {
  Plot plot;
  for (int i = 0; i < 20; ++i) {
    const double y = i;
    plot.curves.push_back({.curve = {.name = "c" + std::to_string(i), .points = {{1, y, 0, y, 1}, {3, y, 0, y, 1}}}});
  }
  plot.markers = {{1, "one"}, {2, "two"}};
  const std::string svg = render_svg(plot, "p-");
  EXPECT_EQ(markup_fault(svg), "");
  EXPECT_CONTAINS(svg, ">c19<");
  EXPECT_CONTAINS(svg, ">two<");
}

}  // namespace
}  // namespace incontext::report
