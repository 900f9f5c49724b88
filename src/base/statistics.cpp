#include "base/statistics.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace incontext::base {

double quantile(std::span<const double> sorted, double q) {
  INCONTEXT_ASSERT(!sorted.empty() && q >= 0 && q <= 1);
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(std::floor(place));
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double share = place - std::floor(place);
  // Of infinite values there is no difference.
  if (share == 0 || sorted[below] == sorted[above]) return sorted[below];
  return std::lerp(sorted[below], sorted[above], share);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return quantile(values, 0.5);
}

}  // namespace incontext::base
