#include "kernels/rope.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rope.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// Turns one head; cosine and sine of half its size.
void TurnHead(float* x, int64_t half, const float* cosine, const float* sine) {
  ForEachVector(half, [&](auto d, int64_t i) HWY_ATTR {
    const auto a = hn::LoadU(d, x + i);
    const auto b = hn::LoadU(d, x + half + i);
    const auto c = hn::LoadU(d, cosine + i);
    const auto s = hn::LoadU(d, sine + i);
    hn::StoreU(hn::NegMulAdd(b, s, hn::Mul(a, c)), d, x + i);
    hn::StoreU(hn::MulAdd(a, s, hn::Mul(b, c)), d, x + half + i);
  });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(TurnHead);

namespace {

void check_rotary(const char* where, int64_t rotary_dim) {
  base::check(rotary_dim >= 0 && rotary_dim % 2 == 0, "[{}] expected an even rotary_dim, got {}", where, rotary_dim);
}

/// Cosine and sine of one row.
void fill_row(int64_t position, const double* frequencies, int64_t half, double scale, float* cosine, float* sine) {
  for (int64_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * frequencies[i];
    cosine[i] = static_cast<float>(scale * std::cos(angle));
    sine[i] = static_cast<float>(scale * std::sin(angle));
  }
}

}  // namespace

std::vector<double> rope_frequencies(double theta, int64_t rotary_dim) {
  std::vector<double> frequencies;
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    frequencies.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim)));
  }
  return frequencies;
}

void rope(const Rope& args, base::ThreadPool& pool) {
  base::check(args.head_dim >= 0 && args.head_dim % 2 == 0, "[rope] expected an even head_dim, got {}", args.head_dim);
  const int64_t rotary_dim = args.rotary_dim == 0 ? args.head_dim : args.rotary_dim;
  check_rotary("rope", rotary_dim);
  base::check(rotary_dim <= args.head_dim, "[rope] expected a rotary_dim of at most {}, got {}", args.head_dim,
              rotary_dim);
  apply_environment();
  const int64_t half = rotary_dim / 2;
  std::vector<double> own;
  if (args.inverse_frequencies == nullptr) own = rope_frequencies(args.theta, rotary_dim);
  const double* frequencies = args.inverse_frequencies == nullptr ? own.data() : args.inverse_frequencies;
  const auto turn = HWY_DYNAMIC_DISPATCH(TurnHead);
  pool.run(args.rows, [&](int64_t row, int) {
    float* cosine = scratch(Scratch::extra, 2 * half);
    float* sine = cosine + half;
    fill_row(args.positions[row], frequencies, half, args.scale, cosine, sine);
    if (args.inverse) std::transform(sine, sine + half, sine, [](float x) { return -x; });
    for (int64_t h = 0; h < args.heads; ++h)
      turn(args.x + row * args.row_stride + h * args.head_stride, half, cosine, sine);
  });
}

void rope_table(const RopeTable& args, base::ThreadPool& pool) {
  check_rotary("rope_table", args.rotary_dim);
  const int64_t half = args.rotary_dim / 2;
  pool.run(args.rows, [&](int64_t row, int) {
    fill_row(args.positions[row], args.inverse_frequencies, half, args.scale, args.cosine + row * half,
             args.sine + row * half);
  });
}

void rope_turn(const RopeTurn& args, base::ThreadPool& pool) {
  check_rotary("rope_turn", args.rotary_dim);
  apply_environment();
  const int64_t half = args.rotary_dim / 2;
  const auto turn = HWY_DYNAMIC_DISPATCH(TurnHead);
  pool.run(args.rows, [&](int64_t row, int) {
    for (int64_t h = 0; h < args.heads; ++h) {
      turn(args.x + row * args.row_stride + h * args.head_stride, half, args.cosine + row * half,
           args.sine + row * half);
    }
  });
}

}  // namespace incontext::kernels
#endif
