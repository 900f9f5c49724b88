// Products of a few rows with weights that are read straight from where they lie: bound by memory. Included once per
// instruction set.
#if defined(INCONTEXT_KERNELS_CPU_WEIGHT_FEW_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_WEIGHT_FEW_INL_H
#undef INCONTEXT_KERNELS_CPU_WEIGHT_FEW_INL_H
#else
#define INCONTEXT_KERNELS_CPU_WEIGHT_FEW_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/dot-inl.h"
#include "kernels/weight_product.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

constexpr int64_t kWeightDepthBlock = 512;  // part of the contract: the order of a sum
static_assert(kWeightDepthBlock % kUnit<Storage::bf16> == 0);

HWY_INLINE int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }
HWY_INLINE int64_t RoundUpTo(int64_t a, int64_t b) { return CeilDivide(a, b) * b; }

/// A rectangle of one weight's outputs.
struct WeightOutputs {
  int64_t row = 0, rows = 0, column = 0, columns = 0;
};

/// value (+ bias[j]) (+ residual[i, j]).
HWY_INLINE float FinishOutput(const WeightMatrix& w, int64_t i, int64_t j, float value) {
  if (w.bias != nullptr) value += w.bias[j];
  if (w.residual != nullptr) value += w.residual[i * w.y_stride + j];
  return value;
}

/// A few rows, repeated to make kRows, with all columns of a range. The range is cut into kColumns stripes that are
/// walked side by side, each one an unbroken stream from memory. Rows of p.x are in the order of units of kStorage.
template <Storage kStorage, std::size_t kRows, std::size_t kColumns>
void MultiplyStrip(const WeightProduct& p, const WeightMatrix& w, const WeightOutputs& outputs) {
  const auto* weight = static_cast<const Element<kStorage>*>(w.weight);
  const int64_t stripe = CeilDivide(outputs.columns, static_cast<int64_t>(kColumns));
  for (int64_t j = 0; j < stripe; ++j) {
    const float* x[kRows];
    const Element<kStorage>* column[kColumns];
    for (std::size_t r = 0; r < kRows; ++r) {
      x[r] = p.x + (outputs.row + std::min(static_cast<int64_t>(r), outputs.rows - 1)) * p.x_stride;
    }
    for (std::size_t c = 0; c < kColumns; ++c) {
      const int64_t place = std::min(static_cast<int64_t>(c) * stripe + j, outputs.columns - 1);
      column[c] = weight + (outputs.column + place) * w.stride;
    }
    float sums[kRows * kColumns] = {};
    DotTile<kStorage, kRows, kColumns, false>(x, column, std::min(p.depth, kWeightDepthBlock), sums);
    for (int64_t k = kWeightDepthBlock; k < p.depth; k += kWeightDepthBlock) {
      for (const float*& row : x) row += kWeightDepthBlock;
      for (const Element<kStorage>*& row : column) row += kWeightDepthBlock;
      DotTile<kStorage, kRows, kColumns, true>(x, column, std::min(p.depth - k, kWeightDepthBlock), sums);
    }
    for (std::size_t c = 0; c < kColumns; ++c) {
      const int64_t place = static_cast<int64_t>(c) * stripe + j;
      if (place >= outputs.columns) break;
      for (int64_t r = 0; r < outputs.rows; ++r) {
        const int64_t i = outputs.row + r;
        w.y[i * w.y_stride + outputs.column + place] =
            FinishOutput(w, i, outputs.column + place, sums[c * kRows + static_cast<std::size_t>(r)]);
      }
    }
  }
}

template <Storage kStorage>
void MultiplyFew(const WeightProduct& p, const WeightMatrix& w, const WeightOutputs& outputs) {
  if (outputs.rows == 1) return MultiplyStrip<kStorage, 1, kDotStreams>(p, w, outputs);
  if (outputs.rows == 2) return MultiplyStrip<kStorage, 2, 4>(p, w, outputs);
  // Few columns at a time, so that all strips of rows find them in the first-level cache.
  constexpr int64_t kRows = kDotRows;
  constexpr std::size_t kColumns = kStoredDotColumns<kStorage>;
  const int64_t at_once = outputs.rows <= kRows ? outputs.columns : static_cast<int64_t>(kColumns);
  for (int64_t j = 0; j < outputs.columns; j += at_once) {
    for (int64_t i = 0; i < outputs.rows; i += kRows) {
      MultiplyStrip<kStorage, kDotRows, kColumns>(p, w,
                                                  {outputs.row + i, std::min(kRows, outputs.rows - i),
                                                   outputs.column + j, std::min(at_once, outputs.columns - j)});
    }
  }
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
