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

void rope(const Rope& args, base::ThreadPool& pool) {
  base::check(args.head_dim >= 0 && args.head_dim % 2 == 0, "[rope] expected an even head_dim, got {}", args.head_dim);
  apply_environment();
  const int64_t half = args.head_dim / 2;
  std::vector<double> frequencies(static_cast<std::size_t>(half));
  for (int64_t i = 0; i < half; ++i) {
    frequencies[static_cast<std::size_t>(i)] =
        std::pow(args.theta, -2.0 * static_cast<double>(i) / static_cast<double>(args.head_dim));
  }
  const auto turn = HWY_DYNAMIC_DISPATCH(TurnHead);
  pool.run(args.rows, [&](int64_t row, int) {
    // Angles in double: at position 100,000 a float angle is off by 0.004.
    float* cosine = scratch(Scratch::extra, 2 * half);
    float* sine = cosine + half;
    const auto position = static_cast<double>(args.positions[row]);
    for (int64_t i = 0; i < half; ++i) {
      const double angle = position * frequencies[static_cast<std::size_t>(i)];
      cosine[i] = static_cast<float>(std::cos(angle));
      sine[i] = static_cast<float>(args.inverse ? -std::sin(angle) : std::sin(angle));
    }
    for (int64_t h = 0; h < args.heads; ++h)
      turn(args.x + row * args.row_stride + h * args.head_stride, half, cosine, sine);
  });
}

}  // namespace incontext::kernels
#endif
