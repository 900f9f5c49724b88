// What the two passes of attention share. Included once per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_ATTENTION_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_ATTENTION_INL_H
#undef INCONTEXT_KERNELS_CPU_ATTENTION_INL_H
#else
#define INCONTEXT_KERNELS_CPU_ATTENTION_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/storage-inl.h"
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE int64_t RoundUp(int64_t a, int64_t b) { return (a + b - 1) / b * b; }
HWY_INLINE int64_t RoundDown(int64_t a, int64_t b) { return a / b * b; }

/// Columns of a buffer that holds `columns` columns of tiles, all of which may be written whole.
HWY_INLINE int64_t PaddedColumns(int64_t columns) { return RoundUp(columns, kTileColumns); }

/// Calls work(first row, rows) for strips of kTileRows rows.
template <class Work>
HWY_INLINE void ForEachStrip(int64_t rows, const Work& work) {
  for (int64_t i = 0; i < rows; i += kTileRows) work(i, std::min(kTileRows, rows - i));
}

/// One strip of A against the panels that hold the first `columns` columns of B [depth, columns], and
/// finish(first column, tile) for each tile.
template <class Finish>
HWY_INLINE void MultiplyPanels(const Left& a, int64_t rows, Panels b, int64_t depth, int64_t columns,
                               const Finish& finish) {
  for (int64_t j = 0; j < columns; j += kTileColumns, b = b.skip(1)) {
    const auto finish_tile = [&](auto& tile) HWY_ATTR { finish(j, tile); };
    if (columns - j <= kLanes) {
      MultiplyRows<1>(a, rows, b, depth, finish_tile);
    } else {
      MultiplyRows<2>(a, rows, b, depth, finish_tile);
    }
  }
}

/// Panels over the head's elements: [rows, head_dim] where they lie, or packed in a scratch buffer.
HWY_INLINE Panels PanelsOfRows(const float* in, int64_t stride, int64_t rows, int64_t head_dim, float* packed) {
  if (head_dim % kTileColumns == 0) return PanelsInPlace(in, stride);
  PackRows<kTileColumns>(in, stride, rows, head_dim, packed, rows * kTileColumns);
  return PackedPanels(packed, rows);
}

/// Stores a tile, or adds it, into a matrix of which `rows` and `columns` are left.
template <std::size_t kRows, std::size_t kVectors, class V>
HWY_INLINE void EmitTile(V (&tile)[kRows][kVectors], int64_t rows, int64_t columns, bool add, float* out,
                         int64_t stride) {
  constexpr int64_t kWidth = static_cast<int64_t>(kVectors) * kLanes;
  if (rows == static_cast<int64_t>(kRows) && columns >= kWidth) {
    if (add) AddToTile(tile, out, stride);
    StoreTile(tile, out, stride);
    return;
  }
  HWY_ALIGN float values[kRows * kVectors * static_cast<std::size_t>(kLanes)];
  StoreTile(tile, values, kWidth);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < std::min(columns, kWidth); ++j) {
      float& to = out[r * stride + j];
      to = add ? to + values[r * kWidth + j] : values[r * kWidth + j];
    }
  }
}

/// Fetches `columns` floats of each of `rows` rows that will be read, or written. A head's part of a token is a short
/// run, which the processor does not foresee.
template <int kWrite>
HWY_INLINE void FetchRows(const float* in, int64_t stride, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; j += 16) __builtin_prefetch(in + r * stride + j, kWrite);
  }
}

/// Copies rows in fp32, side by side. Attention computes on such copies where a tensor lies in bf16.
inline void CopyRowsIn(const ConstArray& from, int64_t stride, int64_t rows, int64_t columns, float* to) {
  for (int64_t r = 0; r < rows; ++r) {
    ForEachVector(columns, [&](auto d, int64_t j)
                               HWY_ATTR { hn::StoreU(LoadFrom(d, from, r * stride + j), d, to + r * columns + j); });
  }
}

inline void CopyRowsOut(const float* from, int64_t rows, int64_t columns, const Array& to, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r) {
    ForEachVector(columns, [&](auto d, int64_t j)
                               HWY_ATTR { StoreTo(d, hn::LoadU(d, from + r * columns + j), to, r * stride + j); });
  }
}

/// In how many rows the queries are taken together: few when keys and values of a head fit the second-level cache,
/// more when they have to be fetched again for every strip.
HWY_INLINE int64_t QueriesAtOnce(int64_t time, int64_t head_dim) {
  return time * head_dim <= 24576 ? kTileRows : 4 * kTileRows;
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
