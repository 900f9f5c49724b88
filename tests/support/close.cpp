#include "support/close.h"

#include <fmt/format.h>

#include <cmath>

namespace incontext::testing {
namespace {

template <class T>
std::string compare_spans(std::span<const T> actual, std::span<const T> expected, Tolerance tolerance) {
  if (actual.size() != expected.size()) {
    return fmt::format("expected {} elements, got {}", expected.size(), actual.size());
  }
  if (!actual.empty() && actual.data() == expected.data()) return "the two buffers are the same memory";
  double worst_excess = 0;
  std::size_t worst = actual.size();
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const auto a = static_cast<double>(actual[i]);
    const auto e = static_cast<double>(expected[i]);
    if (a == e) continue;  // includes equal infinities
    const double allowed = tolerance.absolute + tolerance.relative * std::fabs(e);
    const double difference = std::fabs(a - e);
    if (std::isfinite(e) && difference <= allowed) continue;  // written so that NaN does not pass
    const double excess = std::isfinite(difference) ? difference - allowed : INFINITY;
    if (worst == actual.size() || excess > worst_excess) {
      worst = i;
      worst_excess = excess;
    }
  }
  if (worst == actual.size()) return "";
  const auto e = static_cast<double>(expected[worst]);
  return fmt::format("worst at index {} of {}: expected {}, got {}, tolerance {}", worst, actual.size(), e,
                     static_cast<double>(actual[worst]), tolerance.absolute + tolerance.relative * std::fabs(e));
}

}  // namespace

Tolerance accumulated(double epsilon, std::size_t terms, double magnitude) {
  return {4 * epsilon * std::sqrt(static_cast<double>(terms) + 1) * magnitude, 4 * epsilon};
}

std::string compare(std::span<const float> actual, std::span<const float> expected, Tolerance tolerance) {
  return compare_spans(actual, expected, tolerance);
}

std::string compare(std::span<const double> actual, std::span<const double> expected, Tolerance tolerance) {
  return compare_spans(actual, expected, tolerance);
}

}  // namespace incontext::testing
