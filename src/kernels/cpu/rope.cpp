#include "kernels/rope.h"

#include <cmath>

#include "base/error.h"
#include "kernels/cpu/dispatch.h"

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

}  // namespace

void rope_table(const RopeTable& args, base::ThreadPool& pool) {
  check_rotary("rope_table", args.rotary_dim);
  const int64_t half = args.rotary_dim / 2;
  pool.run(args.rows, [&](int64_t row, int) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(args.positions[row]) * args.inverse_frequencies[i];
      args.cosine[row * half + i] = static_cast<float>(args.scale * std::cos(angle));
      args.sine[row * half + i] = static_cast<float>(args.scale * std::sin(angle));
    }
  });
}

void rope_turn(const RopeTurn& args, base::ThreadPool& pool) {
  check_rotary("rope_turn", args.rotary_dim);
  apply_environment();
  const int64_t half = args.rotary_dim / 2;
  const auto turn = HWY_DYNAMIC_DISPATCH(TurnHead);
  pool.run(args.rows, [&](int64_t row, int) {
    const int64_t at = (args.table_rows == 0 ? row : row % args.table_rows) * half;
    for (int64_t h = 0; h < args.heads; ++h) {
      turn(args.x + row * args.row_stride + h * args.head_stride, half, args.cosine + at, args.sine + at);
    }
  });
}

}  // namespace incontext::kernels
#endif
