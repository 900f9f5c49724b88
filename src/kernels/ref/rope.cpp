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

void rope(const Rope& args) {
  const int64_t rotary_dim = args.rotary_dim == 0 ? args.head_dim : args.rotary_dim;
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int64_t h = 0; h < args.heads; ++h) {
      float* x = args.x + r * args.row_stride + h * args.head_stride;
      for (int64_t i = 0; i < rotary_dim / 2; ++i) {
        const double frequency =
            args.inverse_frequencies == nullptr
                ? std::pow(args.theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim))
                : args.inverse_frequencies[i];
        const double angle = static_cast<double>(args.positions[r]) * frequency;
        turn(x, i, rotary_dim / 2, args.scale * std::cos(angle),
             args.scale * (args.inverse ? -std::sin(angle) : std::sin(angle)));
      }
    }
  }
}

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
        turn(args.x + r * args.row_stride + h * args.head_stride, i, half,
             static_cast<double>(args.cosine[r * half + i]), static_cast<double>(args.sine[r * half + i]));
      }
    }
  }
}

}  // namespace incontext::kernels::ref
