#include "kernels/rope.h"

#include <cmath>

namespace incontext::kernels::ref {
namespace {

/// Turns (x[i], x[i + half]) by an angle with this cosine and sine.
void turn(float* x, int64_t i, int64_t half, double cosine, double sine) {
  const auto a = static_cast<double>(x[i]);
  const auto b = static_cast<double>(x[i + half]);
  x[i] = static_cast<float>(a * cosine - b * sine);
  x[i + half] = static_cast<float>(b * cosine + a * sine);
}

}  // namespace

void rope_table(const RopeTable& args) {
  const int64_t half = args.rotary_dim / 2;
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(args.positions[r]) * args.inverse_frequencies[i];
      args.cosine[r * half + i] = static_cast<float>(args.scale * std::cos(angle));
      args.sine[r * half + i] = static_cast<float>(args.scale * std::sin(angle));
    }
  }
}

void rope_turn(const RopeTurn& args) {
  const int64_t half = args.rotary_dim / 2;
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int64_t h = 0; h < args.heads; ++h) {
      for (int64_t i = 0; i < half; ++i) {
        const int64_t at = (args.table_rows == 0 ? r : r % args.table_rows) * half + i;
        turn(args.x + r * args.row_stride + h * args.head_stride, i, half, static_cast<double>(args.cosine[at]),
             static_cast<double>(args.sine[at]));
      }
    }
  }
}

}  // namespace incontext::kernels::ref
