#pragma once

#include <string>
#include <vector>

#include "report/series.h"

namespace incontext::report {

struct Axis {
  std::string label = {};
  bool logarithmic = false;  // values that are not positive are left out
  double maximum = 0;        // where the axis ends, unless 0
};

struct PlotCurve {
  Curve curve = {};
  bool reference = false;  // dashed and with open points, for what others are measured against
};

/// A vertical line at x.
struct Marker {
  double x = 0;
  std::string label = {};
};

struct Plot {
  std::string title = {};
  Axis x = {};
  Axis y = {};
  std::vector<PlotCurve> curves = {};
  std::vector<Marker> markers = {};
};

/// Whether there is at least one point to draw.
bool drawable(const Plot& plot);

/// An <svg> element to stand within HTML: its lines and letters have the colour of the text around it, its ids begin
/// with `id_prefix`, and it is as wide as its place. Bands are drawn where curves have them. The plot must be
/// drawable.
std::string render_svg(const Plot& plot, const std::string& id_prefix);

}  // namespace incontext::report
