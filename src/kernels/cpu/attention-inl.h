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

#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE int64_t RoundUp(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

/// Columns of a buffer that holds `columns` columns of tiles, all of which may be written whole.
HWY_INLINE int64_t PaddedColumns(int64_t columns) { return RoundUp(columns, kTileColumns); }

/// Calls work(first row, rows) for strips of kTileRows rows.
template <class Work>
HWY_INLINE void ForEachStrip(int64_t rows, const Work& work) {
  for (int64_t i = 0; i < rows; i += kTileRows) work(i, std::min(kTileRows, rows - i));
}

/// One strip of A against the panels that hold the first `columns` columns of B (panels panel_depth rows high, of
/// which `depth` are multiplied), and finish(first column, tile) for each tile.
template <class Finish>
HWY_INLINE void MultiplyPanels(const Left& a, int64_t rows, const float* panels, int64_t panel_depth, int64_t depth,
                               int64_t columns, const Finish& finish) {
  for (int64_t j = 0; j < columns; j += kTileColumns, panels += panel_depth * kTileColumns) {
    const auto finish_tile = [&](auto& tile) HWY_ATTR { finish(j, tile); };
    if (columns - j <= kLanes) {
      MultiplyRows<1>(a, rows, panels, depth, finish_tile);
    } else {
      MultiplyRows<2>(a, rows, panels, depth, finish_tile);
    }
  }
}

/// Stores a tile into a buffer whose columns are padded to whole tiles; rows past `rows` are left out.
template <std::size_t kRows, std::size_t kVectors, class V>
HWY_INLINE void StoreTile(V (&tile)[kRows][kVectors], int64_t rows, float* out, int64_t stride) {
#pragma GCC unroll 16
  for (std::size_t r = 0; r < kRows; ++r) {
    if (static_cast<int64_t>(r) >= rows) break;
#pragma GCC unroll 2
    for (std::size_t v = 0; v < kVectors; ++v) {
      hn::StoreU(tile[r][v], Full(), out + static_cast<int64_t>(r) * stride + static_cast<int64_t>(v) * kLanes);
    }
  }
}

/// Stores or adds row r of a tile times factors[r] (1 when null) into a row-major matrix with `columns` columns left.
template <std::size_t kRows, std::size_t kVectors, class V>
HWY_INLINE void EmitTile(V (&tile)[kRows][kVectors], int64_t rows, int64_t columns, const float* factors, bool add,
                         float* out, int64_t stride) {
  const Full d;
  constexpr int64_t kWidth = static_cast<int64_t>(kVectors) * kLanes;
#pragma GCC unroll 16
  for (std::size_t r = 0; r < kRows; ++r) {
    if (static_cast<int64_t>(r) >= rows) break;
    float* to = out + static_cast<int64_t>(r) * stride;
    const V factor = hn::Set(d, factors == nullptr ? 1.0F : factors[r]);
    HWY_ALIGN float values[kVectors * static_cast<std::size_t>(kLanes)];
    const bool whole = columns >= kWidth;
#pragma GCC unroll 2
    for (std::size_t v = 0; v < kVectors; ++v) {
      const int64_t at = static_cast<int64_t>(v) * kLanes;
      V value = hn::Mul(tile[r][v], factor);
      if (whole) {
        if (add) value = hn::Add(value, hn::LoadU(d, to + at));
        hn::StoreU(value, d, to + at);
      } else {
        hn::Store(value, d, values + at);
      }
    }
    if (whole) continue;
    for (int64_t j = 0; j < columns; ++j) to[j] = add ? to[j] + values[j] : values[j];
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
