#include "kernels/rope.h"

#include <cmath>

namespace incontext::kernels::ref {

void rope(const Rope& args) {
  const int64_t half = args.head_dim / 2;
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int64_t h = 0; h < args.heads; ++h) {
      float* x = args.x + r * args.row_stride + h * args.head_stride;
      for (int64_t i = 0; i < half; ++i) {
        const double frequency =
            std::pow(args.theta, -2.0 * static_cast<double>(i) / static_cast<double>(args.head_dim));
        const double angle = static_cast<double>(args.positions[r]) * frequency;
        const double c = std::cos(angle);
        const double s = args.inverse ? -std::sin(angle) : std::sin(angle);
        const auto a = static_cast<double>(x[i]);
        const auto b = static_cast<double>(x[i + half]);
        x[i] = static_cast<float>(a * c - b * s);
        x[i + half] = static_cast<float>(b * c + a * s);
      }
    }
  }
}

}  // namespace incontext::kernels::ref
