// Products of many rows with weights: bound by arithmetic. Both factors are packed as fp32 in the order in which tiles
// read them. Included once per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_WEIGHT_MANY_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_WEIGHT_MANY_INL_H
#undef INCONTEXT_KERNELS_CPU_WEIGHT_MANY_INL_H
#else
#define INCONTEXT_KERNELS_CPU_WEIGHT_MANY_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/scratch.h"
#include "kernels/cpu/tile-inl.h"
#include "kernels/cpu/weight_few-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

constexpr int64_t kManyRowBlock = 128;     // of X, packed: 256 KiB of the second-level cache
constexpr int64_t kManyColumnRange = 240;  // of W, for which X is packed once
constexpr int64_t kPanelTiles = 2;         // tiles of W packed at once: 12 KiB of the first-level cache

/// Packs `count` rows that start `stride` apart, in the order of units of kLike: vector v of row i at
/// out[(v * kCount + i) * kLanes]; what is missing is 0.
template <Storage kStorage, Storage kLike, std::size_t kCount>
HWY_INLINE void PackForDots(const Element<kStorage>* in, int64_t stride, int64_t count, int64_t depth,
                            float* HWY_RESTRICT out) {
  const Full d;
  constexpr int64_t kStep = static_cast<int64_t>(kCount) * kLanes;
  for (int64_t i = 0; i < static_cast<int64_t>(kCount); ++i, out += kLanes) {
    if (i < count) {
      ReadUnits<kStorage, kLike>(in + i * stride, depth, out, kStep);
    } else {
      const int64_t vectors = CeilDivide(depth, kUnit<kLike>) * kUnitVectors<kLike>;
      for (int64_t v = 0; v < vectors; ++v) hn::Store(hn::Zero(d), d, out + v * kStep);
    }
  }
}

/// DotTile on packed factors; `vectors` of the depth.
template <bool kAdd>
HWY_INLINE void PackedDotTile(const float* HWY_RESTRICT x, const float* HWY_RESTRICT w, int64_t vectors, float* out) {
  const Full d;
  using V = hn::Vec<Full>;
  V sum[kDotRows * kDotColumns];
#pragma GCC unroll 32
  for (std::size_t i = 0; i < kDotRows * kDotColumns; ++i) sum[i] = hn::Zero(d);
  for (int64_t k = 0; k < vectors; ++k) {
    V right[kDotColumns];
#pragma GCC unroll 8
    for (std::size_t c = 0; c < kDotColumns; ++c) right[c] = hn::Load(d, w + static_cast<int64_t>(c) * kLanes);
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kDotRows; ++r) {
      const V left = hn::Load(d, x + static_cast<int64_t>(r) * kLanes);
#pragma GCC unroll 8
      for (std::size_t c = 0; c < kDotColumns; ++c) {
        sum[c * kDotRows + r] = hn::MulAdd(left, right[c], sum[c * kDotRows + r]);
      }
    }
    x += static_cast<int64_t>(kDotRows) * kLanes;
    w += static_cast<int64_t>(kDotColumns) * kLanes;
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kDotRows * kDotColumns; i += 4) SumFour<kAdd>(sum + i, out + i);
}

/// Adds bias and residual to a strip of sums[column * kDotRows + row] and stores it.
inline void FinishStrip(const WeightMatrix& w, const WeightOutputs& outputs, const float* sums) {
  HWY_ALIGN float rows[kDotRows * static_cast<std::size_t>(kManyColumnRange)];
  int64_t c = 0;
  for (; c + 4 <= outputs.columns; c += 4) Transpose4(sums + c * 4, 4, rows + c, kManyColumnRange);
  for (; c < outputs.columns; ++c) {
    for (int64_t r = 0; r < 4; ++r) rows[r * kManyColumnRange + c] = sums[c * 4 + r];
  }
  for (int64_t r = 0; r < outputs.rows; ++r) {
    const int64_t at = (outputs.row + r) * w.y_stride + outputs.column;
    ForEachVector(outputs.columns, [&](auto d, int64_t j) HWY_ATTR {
      auto value = hn::LoadU(d, rows + r * kManyColumnRange + j);
      if (w.bias != nullptr) value = hn::Add(value, hn::LoadU(d, w.bias + outputs.column + j));
      if (w.residual != nullptr) value = hn::Add(value, hn::LoadU(d, w.residual + at + j));
      hn::StoreU(value, d, w.y + at + j);
    });
  }
}

/// One block of the depth: a panel of W after the other against all strips of X.
template <Storage kStorage, bool kAdd>
void MultiplyDepthBlock(const WeightMatrix& w, const WeightOutputs& outputs, int64_t k, int64_t depth, const float* x,
                        float* sums) {
  constexpr int64_t kRows = kDotRows, kColumns = kDotColumns;
  const int64_t vectors = CeilDivide(depth, kUnit<kStorage>) * kUnitVectors<kStorage>;
  const int64_t strips = CeilDivide(outputs.rows, kRows);
  const int64_t sums_stride = RoundUpTo(outputs.columns, kColumns) * kRows;
  float* panel = scratch(Scratch::right, kPanelTiles * kColumns * vectors * kLanes);
  const auto* weight = static_cast<const Element<kStorage>*>(w.weight) + k;
  for (int64_t j = 0; j < outputs.columns; j += kPanelTiles * kColumns) {
    const int64_t tiles = std::min(kPanelTiles, CeilDivide(outputs.columns - j, kColumns));
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t first = j + t * kColumns;
      PackForDots<kStorage, kStorage, kDotColumns>(weight + (outputs.column + first) * w.stride, w.stride,
                                                   std::min(kColumns, outputs.columns - first), depth,
                                                   panel + t * kColumns * vectors * kLanes);
    }
    for (int64_t s = 0; s < strips; ++s) {
      for (int64_t t = 0; t < tiles; ++t) {
        PackedDotTile<kAdd>(x + s * kRows * vectors * kLanes, panel + t * kColumns * vectors * kLanes, vectors,
                            sums + s * sums_stride + (j + t * kColumns) * kRows);
      }
    }
  }
}

template <Storage kStorage>
void MultiplyMany(const WeightProduct& p, const WeightMatrix& w, const WeightOutputs& outputs) {
  constexpr int64_t kRows = kDotRows;
  const int64_t strips = CeilDivide(outputs.rows, kRows);
  const int64_t sums_stride = RoundUpTo(outputs.columns, static_cast<int64_t>(kDotColumns)) * kRows;
  float* x = scratch(Scratch::left, strips * kRows * kWeightDepthBlock);
  float* sums = scratch(Scratch::scores, strips * sums_stride);
  if (p.depth == 0) std::fill_n(sums, strips * sums_stride, 0.0F);
  for (int64_t k = 0; k < p.depth; k += kWeightDepthBlock) {
    const int64_t depth = std::min(kWeightDepthBlock, p.depth - k);
    const int64_t strip_size = kRows * RoundUpTo(depth, kUnit<kStorage>);
    for (int64_t s = 0; s < strips; ++s) {
      PackForDots<Storage::f32, kStorage, kDotRows>(p.x + (outputs.row + s * kRows) * p.x_stride + k, p.x_stride,
                                                    std::min(kRows, outputs.rows - s * kRows), depth,
                                                    x + s * strip_size);
    }
    if (k == 0) {
      MultiplyDepthBlock<kStorage, false>(w, outputs, k, depth, x, sums);
    } else {
      MultiplyDepthBlock<kStorage, true>(w, outputs, k, depth, x, sums);
    }
  }
  for (int64_t s = 0; s < strips; ++s) {
    const int64_t rows = std::min(kRows, outputs.rows - s * kRows);
    FinishStrip(w, {outputs.row + s * kRows, rows, outputs.column, outputs.columns}, sums + s * sums_stride);
  }
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
