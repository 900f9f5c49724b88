#include "kernels/coefficients.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace incontext::kernels {
namespace {

struct Ladder {
  std::array<float, 64> values = {};
  explicit Ladder(Coefficients kind) {
    const int levels = 1 << ladder_level_bits(kind);
    for (int code = 0; code < 2 * levels; ++code) {
      const double magnitude = std::exp2(-static_cast<double>(code % levels) / ladder_steps(kind));
      values[static_cast<std::size_t>(code)] = static_cast<float>(code < levels ? magnitude : -magnitude);
    }
  }
};

}  // namespace

const float* ladder_table(Coefficients kind) {
  static const Ladder four(Coefficients::ladder), five(Coefficients::ladder5), six(Coefficients::ladder6);
  const Ladder& ladder = kind == Coefficients::ladder ? four : kind == Coefficients::ladder5 ? five : six;
  return ladder.values.data();
}

float coefficient_of(Coefficients kind, int16_t code) {
  if (kind == Coefficients::integer) return static_cast<float>(code) / 2047;
  return ladder_table(kind)[code];
}

int16_t nearest_coefficient(Coefficients kind, float value) {
  if (kind == Coefficients::integer) {
    return static_cast<int16_t>(std::clamp(std::nearbyint(value * 2047), -2047.0F, 2047.0F));
  }
  const float* table = ladder_table(kind);
  const float magnitude = std::abs(value);
  const int16_t levels = static_cast<int16_t>(1 << ladder_level_bits(kind));
  int16_t level = 0;
  while (level + 1 < levels && table[level] - magnitude > magnitude - table[level + 1]) ++level;
  return static_cast<int16_t>(value < 0 ? level + levels : level);
}

}  // namespace incontext::kernels
