#include "report/plot.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "report/gnuplot.h"
#include "report/page.h"

namespace incontext::report {
namespace {

constexpr int kWidth = 860;
constexpr int kHeight = 400;
constexpr size_t kLongestName = 36;
constexpr size_t kMostPointSymbols = 60;  // with more points the symbols cover the line

// Okabe and Ito's palette for all kinds of colour vision (2008), without the yellow and the black, which vanish on
// white and on dark pages, and with a grey.
constexpr std::array<const char*, 7> kColours = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                 "#E69F00", "#56B4E9", "#8A8A8A"};
constexpr std::array<int, 5> kFilledSymbols = {7, 5, 9, 13, 11};
constexpr std::array<int, 5> kOpenSymbols = {6, 4, 8, 12, 10};

// A single-quoted string of gnuplot, in which nothing is special but the quote itself. Quotes become typographic
// ones, so that no label can look like an attribute when the SVG is edited below.
std::string quoted(const std::string& text) {
  std::string out;
  for (const char c : base::printable(text)) {
    if (c == '\'') {
      out += "\u2019";
    } else if (c == '"') {
      out += "\u201d";
    } else {
      out += c;
    }
  }
  return "'" + out + "'";
}

bool shown(double x, double y, const Plot& plot) {
  return std::isfinite(x) && std::isfinite(y) && (x > 0 || !plot.x.logarithmic) && (y > 0 || !plot.y.logarithmic);
}

bool shown(const Curve& curve, const Plot& plot) {
  return std::any_of(curve.points.begin(), curve.points.end(),
                     [&](const Point& point) { return shown(point.x, point.y, plot); });
}

// Data blocks: x, y, low, high. A band that leaves a logarithmic axis ends at the curve.
std::string data_block(size_t index, const Curve& curve, const Plot& plot) {
  std::string block = fmt::format("$curve{} << END\n", index);
  for (const Point& point : curve.points) {
    if (!shown(point.x, point.y, plot)) continue;
    const double low = shown(point.x, point.low, plot) ? point.low : point.y;
    const double high = shown(point.x, point.high, plot) ? point.high : point.y;
    block += fmt::format("{} {} {} {}\n", point.x, point.y, low, high);
  }
  return block + "END\n";
}

std::string curve_command(size_t index, const PlotCurve& item) {
  const char* colour = kColours[index % kColours.size()];
  const size_t round = index / kColours.size();
  const auto& symbols = item.reference ? kOpenSymbols : kFilledSymbols;
  const bool with_symbols = item.curve.points.size() <= kMostPointSymbols;
  return fmt::format("$curve{} using 1:2 with {} dashtype {} linewidth {} linecolor rgb '{}'{} title {}", index,
                     with_symbols ? "linespoints" : "lines", (item.reference ? 2 : 1) + 2 * round,
                     item.reference ? 1.5 : 2.2, colour,
                     with_symbols ? fmt::format(" pointtype {} pointsize 0.5", symbols[index % symbols.size()]) : "",
                     quoted(base::clip(item.curve.name, kLongestName)));
}

std::string script_of(const Plot& plot) {
  std::string script = fmt::format(
      "set encoding utf8\nset terminal svg size {},{} noenhanced font 'sans-serif,13' linewidth 1\n"
      "set key outside right top Left reverse samplen 2.5 spacing 1.25\nset border 3\nset tics nomirror\n"
      "set grid linewidth 0.6\nset autoscale xfixmax\nset tmargin 2\nset xlabel {}\nset ylabel {}\n",
      kWidth, kHeight, quoted(plot.x.label), quoted(plot.y.label));
  if (plot.x.logarithmic) script += "set logscale x\n";
  if (plot.y.logarithmic) script += "set logscale y\nset format y '%g'\n";
  if (plot.x.maximum != 0) script += fmt::format("set xrange [:{}]\n", plot.x.maximum);
  if (plot.y.maximum != 0) script += fmt::format("set yrange [:{}]\n", plot.y.maximum);
  for (const Marker& marker : plot.markers) {
    script += fmt::format(
        "set arrow from {0}, graph 0 to {0}, graph 1 nohead dashtype 2 linewidth 1.5 linecolor rgb '#8A8A8A'\n",
        marker.x);
    script += fmt::format("set label {} at {}, graph 1.05 center\n", quoted(marker.label), marker.x);
  }
  std::vector<std::string> bands, lines;
  for (size_t i = 0; i < plot.curves.size(); ++i) {
    const Curve& curve = plot.curves[i].curve;
    if (!shown(curve, plot)) continue;
    script += data_block(i, curve, plot);
    if (curve.has_band()) {
      bands.push_back(fmt::format(
          "$curve{} using 1:3:4 with filledcurves fillstyle transparent solid 0.18 noborder linecolor rgb '{}' notitle",
          i, kColours[i % kColours.size()]));
    }
    lines.push_back(curve_command(i, plot.curves[i]));
  }
  bands.insert(bands.end(), lines.begin(), lines.end());  // lines above all bands
  return script + fmt::format("plot {}\n", fmt::join(bands, ", "));
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// Drops every <title> (gnuplot's own names, which browsers show as tooltips).
void drop_titles(std::string& svg) {
  for (size_t start = svg.find("<title>"); start != std::string::npos; start = svg.find("<title>", start)) {
    const size_t end = svg.find("</title>", start);
    if (end == std::string::npos) return;
    svg.erase(start, end + 8 - start);
  }
}

}  // namespace

bool drawable(const Plot& plot) {
  return std::any_of(plot.curves.begin(), plot.curves.end(),
                     [&](const PlotCurve& item) { return shown(item.curve, plot); });
}

std::string render_svg(const Plot& plot, const std::string& id_prefix) {
  base::check(drawable(plot), "plot '{}': expected at least one finite point{}", plot.title,
              plot.y.logarithmic ? " above zero" : "");
  std::string svg = run_gnuplot(script_of(plot));
  const size_t start = svg.find("<svg");
  const size_t end = svg.rfind("</svg>");
  base::check(start != std::string::npos && end != std::string::npos && start < end,
              "gnuplot: expected an SVG picture, got '{}'", base::printable(svg.substr(0, 60)));
  svg = svg.substr(start, end + 6 - start);
  drop_titles(svg);
  // Letters and axes take the colour of the page.
  for (const char* attribute : {"stroke", "fill"}) {
    replace_all(svg, fmt::format("{}='black'", attribute), fmt::format("{}='currentColor'", attribute));
    replace_all(svg, fmt::format("{}=\"black\"", attribute), fmt::format("{}=\"currentColor\"", attribute));
  }
  replace_all(svg, " color=\"black\"", "");
  replace_all(svg, "font-family=\"sans-serif\"", "font-family=\"inherit\"");
  // Several pictures share one page.
  for (const char* reference : {"id='", "id=\"", "href='#", "href=\"#"}) {
    replace_all(svg, std::string(" ") + reference, std::string(" ") + reference + id_prefix);
    replace_all(svg, std::string(":") + reference, std::string(":") + reference + id_prefix);
  }
  const std::string size = fmt::format("width=\"{}\" height=\"{}\"", kWidth, kHeight);
  const size_t at = svg.find(size);
  if (at != std::string::npos) {
    svg.replace(at, size.size(), fmt::format("role=\"img\" aria-label=\"{}\"", escape_html(plot.title)));
  }
  return svg;
}

}  // namespace incontext::report
