#include "kernels/loop_border.h"

#include <algorithm>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/loop_border.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

void BorderRows(const LoopBorderForward& args, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    const float* iterate = args.iterate + row * args.width;
    const float* input = args.input + row * args.width;
    float* hidden = args.hidden + row * args.width;
    if (row % 2 == 0) {
      args.prediction[row / 2] = args.bias + SumOf(args.width, [&](auto d, int64_t j) HWY_ATTR {
                                   return hn::Mul(hn::LoadU(d, iterate + j), hn::LoadU(d, args.weight + j));
                                 });
    }
    ForEachVector(args.width, [&](auto d, int64_t j) HWY_ATTR {
      hn::StoreU(hn::Add(hn::LoadU(d, iterate + j), hn::LoadU(d, input + j)), d, hidden + j);
    });
  }
}

/// Gradients of rows first … last - 1 (first even); their share of dweight goes to sums [width].
void BorderBackwardRows(const LoopBorderBackward& args, int64_t first, int64_t last, float* sums) {
  std::fill(sums, sums + args.width, 0.0F);
  for (int64_t row = first; row < last; ++row) {
    const int64_t start = row * args.width;
    const float* dhidden = args.dhidden + start;
    float* diterate = args.diterate + start;
    if (row % 2 == 0) {
      const float dprediction = args.dprediction[row / 2];
      ForEachVector(args.width, [&](auto d, int64_t j) HWY_ATTR {
        const auto change = hn::Set(d, dprediction);
        hn::StoreU(hn::MulAdd(change, hn::LoadU(d, args.weight + j), hn::LoadU(d, dhidden + j)), d, diterate + j);
        hn::StoreU(hn::MulAdd(change, hn::LoadU(d, args.iterate + start + j), hn::LoadU(d, sums + j)), d, sums + j);
      });
    } else {
      std::copy(dhidden, dhidden + args.width, diterate);
    }
    if (args.dinput == nullptr) continue;
    ForEachVector(args.width, [&](auto d, int64_t j) HWY_ATTR {
      const auto later = hn::LoadU(d, args.dinput_later + start + j);
      hn::StoreU(hn::Add(hn::LoadU(d, dhidden + j), later), d, args.dinput + start + j);
    });
  }
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(BorderRows);
HWY_EXPORT(BorderBackwardRows);
HWY_EXPORT(AddPieces);

void loop_border_forward(const LoopBorderForward& args, base::ThreadPool& pool) {
  constexpr int64_t kRows = 32;
  apply_environment();
  const auto rows = HWY_DYNAMIC_DISPATCH(BorderRows);
  pool.run((args.rows + kRows - 1) / kRows,
           [&](int64_t piece, int) { rows(args, piece * kRows, std::min(args.rows, (piece + 1) * kRows)); });
}

void loop_border_backward(const LoopBorderBackward& args, base::ThreadPool& pool) {
  // Rows whose shares of dweight are summed apart, then added in order: a function of the shape alone.
  const int64_t rows_per_piece = std::max<int64_t>(64, (args.rows + 127) / 128 * 2);
  const int64_t pieces = (args.rows + rows_per_piece - 1) / rows_per_piece;
  float* sums = scratch(Scratch::partial, pieces * args.width);
  apply_environment();
  const auto rows = HWY_DYNAMIC_DISPATCH(BorderBackwardRows);
  pool.run(pieces, [&](int64_t piece, int) {
    const int64_t first = piece * rows_per_piece;
    rows(args, first, std::min(args.rows, first + rows_per_piece), sums + piece * args.width);
  });
  HWY_DYNAMIC_DISPATCH(AddPieces)(sums, pieces, args.width, args.width, args.dweight);
  double dbias = 0;
  for (int64_t i = 0; i < args.rows / 2; ++i) dbias += static_cast<double>(args.dprediction[i]);
  *args.dbias = static_cast<float>(dbias);
}

}  // namespace incontext::kernels
#endif
