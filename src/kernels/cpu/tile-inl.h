// The micro kernel all matrix products share, and the packing of its operands. Included once per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_TILE_INL_H
#undef INCONTEXT_KERNELS_CPU_TILE_INL_H
#else
#define INCONTEXT_KERNELS_CPU_TILE_INL_H
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// A tile of the result lives in registers: kTileHeight rows of kTileVectors vectors. With 16 registers 12 sums leave
/// room for two vectors of B and one broadcast element of A, and 12 independent sums cover the latency of a fused
/// multiply-add (4 cycles, 2 per cycle); with the 32 registers of AVX-512, 24 sums.
#if HWY_TARGET <= HWY_AVX3
constexpr std::size_t kTileHeight = 12;
#else
constexpr std::size_t kTileHeight = 6;
#endif
constexpr int64_t kTileRows = kTileHeight;
constexpr int64_t kTileVectors = 2;
constexpr int64_t kTileColumns = kTileVectors * kLanes;

/// The left factor of a tile: element (r, k) at data[r * row + k * step].
struct Left {
  const float* data;
  int64_t row;
  int64_t step;
};

/// The right factor in panels of kTileColumns columns: row k of the first panel at data + k * step, the next panel
/// `panel` floats further.
struct Panels {
  const float* data;
  int64_t panel;
  int64_t step;

  Panels row(int64_t k) const { return {data + k * step, panel, step}; }
  Panels skip(int64_t panels) const { return {data + panels * panel, panel, step}; }
};

/// Panels [depth, kTileColumns], one after the other, as PackRows and PackTransposed make them.
HWY_INLINE Panels PackedPanels(const float* data, int64_t depth) { return {data, depth * kTileColumns, kTileColumns}; }

/// Panels of a matrix where it lies: of whole panels alone, for more would be read.
HWY_INLINE Panels PanelsInPlace(const float* data, int64_t stride) { return {data, kTileColumns, stride}; }

/// tile = A·B with A [rows, depth] and B a panel of `depth` rows, of which the first kVectors vectors are used; then
/// finish(tile), with tile[kRows][kVectors]. Rows from `rows` on repeat the last row and are not results.
/// Each sum runs over k in order, so that an element does not depend on the shape of the tile it is computed in.
template <std::size_t kRows, std::size_t kVectors, class Finish>
HWY_INLINE void MultiplyTile(const Left& a, int64_t rows, const Panels& panel, int64_t depth, const Finish& finish) {
  const Full d;
  using V = hn::Vec<Full>;
  V sum[kRows][kVectors];
  const float* HWY_RESTRICT row[kRows];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < kRows; ++r) {
    row[r] = a.data + std::min(static_cast<int64_t>(r), rows - 1) * a.row;
#pragma GCC unroll 2
    for (std::size_t v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(d);
  }
  const float* HWY_RESTRICT b = panel.data;
  const int64_t step = a.step, right_step = panel.step;
  int64_t offset = 0;
  for (int64_t k = 0; k < depth; ++k, offset += step, b += right_step) {
    V right[kVectors];
#pragma GCC unroll 2
    for (std::size_t v = 0; v < kVectors; ++v) right[v] = hn::LoadU(d, b + static_cast<int64_t>(v) * kLanes);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < kRows; ++r) {
      const V left = hn::Set(d, row[r][offset]);
#pragma GCC unroll 2
      for (std::size_t v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(left, right[v], sum[r][v]);
    }
  }
  finish(sum);
}

/// Calls MultiplyTile with the smallest of three heights that holds `rows`, so that few instances are compiled.
template <std::size_t kVectors, class Finish>
HWY_INLINE void MultiplyRows(const Left& a, int64_t rows, const Panels& b, int64_t depth, const Finish& finish) {
  if (rows > kTileRows / 2) {
    MultiplyTile<kTileHeight, kVectors>(a, rows, b, depth, finish);
  } else if (rows > 1) {
    MultiplyTile<kTileHeight / 2, kVectors>(a, rows, b, depth, finish);
  } else {
    MultiplyTile<1, kVectors>(a, rows, b, depth, finish);
  }
}

/// Calls work(vector, its place) for all vectors of a tile that starts at `first`.
template <std::size_t kRows, std::size_t kVectors, class V, class T, class Work>
HWY_INLINE void ForEachTileVector(V (&tile)[kRows][kVectors], T* first, int64_t stride, const Work& work) {
#pragma GCC unroll 16
  for (std::size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (std::size_t v = 0; v < kVectors; ++v) {
      work(tile[r][v], first + static_cast<int64_t>(r) * stride + static_cast<int64_t>(v) * kLanes);
    }
  }
}

/// Stores all rows of a tile into a buffer that has room for whole tiles.
template <std::size_t kRows, std::size_t kVectors, class V>
HWY_INLINE void StoreTile(V (&tile)[kRows][kVectors], float* out, int64_t stride) {
  ForEachTileVector(tile, out, stride, [](const V& value, float* to) HWY_ATTR { hn::StoreU(value, Full(), to); });
}

/// Adds a matrix (a row, when stride is 0) to a tile.
template <std::size_t kRows, std::size_t kVectors, class V>
HWY_INLINE void AddToTile(V (&tile)[kRows][kVectors], const float* addend, int64_t stride) {
  ForEachTileVector(tile, addend, stride,
                    [](V& value, const float* from) HWY_ATTR { value = hn::Add(value, hn::LoadU(Full(), from)); });
}

/// 4x4 transpose: out[k * out_stride + j] = in[j * in_stride + k].
HWY_INLINE void Transpose4(const float* in, int64_t in_stride, float* out, int64_t out_stride) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t j = 0; j < 4; ++j) {
    for (int64_t k = 0; k < 4; ++k) out[k * out_stride + j] = in[j * in_stride + k];
  }
#else
  const hn::FixedTag<float, 4> d;
  const auto a = hn::LoadU(d, in);
  const auto b = hn::LoadU(d, in + in_stride);
  const auto c = hn::LoadU(d, in + 2 * in_stride);
  const auto e = hn::LoadU(d, in + 3 * in_stride);
  const auto ac_low = hn::InterleaveLower(d, a, c);
  const auto be_low = hn::InterleaveLower(d, b, e);
  const auto ac_high = hn::InterleaveUpper(d, a, c);
  const auto be_high = hn::InterleaveUpper(d, b, e);
  hn::StoreU(hn::InterleaveLower(d, ac_low, be_low), d, out);
  hn::StoreU(hn::InterleaveUpper(d, ac_low, be_low), d, out + out_stride);
  hn::StoreU(hn::InterleaveLower(d, ac_high, be_high), d, out + 2 * out_stride);
  hn::StoreU(hn::InterleaveUpper(d, ac_high, be_high), d, out + 3 * out_stride);
#endif
}

/// Lines of the input that packing fetches ahead: the processor does not foresee short runs of lines.
constexpr int64_t kAhead = 8;

/// Packs `columns` columns, whose elements lie along rows of `in` (element (j, k) at in[j * stride + k]), into panels
/// [depth, kWidth] that lie panel_stride apart, the last one filled up with zeros.
template <int64_t kWidth>
void PackTransposed(const float* in, int64_t stride, int64_t depth, int64_t columns, float* out, int64_t panel_stride) {
  for (int64_t first = 0; first < columns; first += kWidth, out += panel_stride) {
    const int64_t width = std::min(kWidth, columns - first);
    if (width < kWidth) std::fill_n(out, depth * kWidth, 0.0F);
    int64_t j = 0;
    for (; j + 4 <= width; j += 4) {
      const float* source = in + (first + j) * stride;
      if (first + j + 2 * kAhead <= columns) {
        for (int64_t i = kAhead; i < kAhead + 4; ++i) {
          for (int64_t k = 0; k < depth; k += 16) hwy::Prefetch(source + i * stride + k);
        }
      }
      int64_t k = 0;
      for (; k + 4 <= depth; k += 4) Transpose4(source + k, stride, out + k * kWidth + j, kWidth);
      for (; k < depth; ++k) {
        for (int64_t i = 0; i < 4; ++i) out[k * kWidth + j + i] = source[i * stride + k];
      }
    }
    for (; j < width; ++j) {
      for (int64_t k = 0; k < depth; ++k) out[k * kWidth + j] = in[(first + j) * stride + k];
    }
  }
}

/// Floats between the panels of the left factor: rows of a panel are written in whole vectors, each of which is
/// completed by the next, and the last reaches past the panel.
HWY_INLINE int64_t LeftPanelStride(int64_t depth) { return depth * kTileRows + kLanes; }

/// Packs `columns` columns that lie beside each other (element (j, k) at in[k * stride + j]) into panels
/// [depth, kWidth] that lie panel_stride apart, the last one filled up with zeros. Where kWidth is no multiple of a
/// vector, kLanes floats behind each panel are overwritten.
template <int64_t kWidth>
void PackRows(const float* in, int64_t stride, int64_t depth, int64_t columns, float* out, int64_t panel_stride) {
  constexpr int64_t kSpan = (kWidth + kLanes - 1) / kLanes * kLanes;
  // Whole groups of panels row by row, so that each line and page of the input is visited once per group.
  constexpr int64_t kGroup = (128 + kWidth - 1) / kWidth;
  for (int64_t first = 0; first < columns; first += kGroup * kWidth, out += kGroup * panel_stride) {
    const int64_t last = std::min(columns, first + kGroup * kWidth);
    for (int64_t k = 0; k < depth; ++k) {
      const float* source = in + k * stride;
      if (k + kAhead < depth) {
        for (int64_t j = first; j < last; j += 16) hwy::Prefetch(source + kAhead * stride + j);
      }
      float* target = out + k * kWidth;
      int64_t j = first;
      for (; j + kWidth <= last && j + kSpan <= columns; j += kWidth, target += panel_stride) {
        for (int64_t i = 0; i < kSpan; i += kLanes) hn::StoreU(hn::LoadU(Full(), source + j + i), Full(), target + i);
      }
      for (; j < last; j += kWidth, target += panel_stride) {
        for (int64_t i = 0; i < kWidth; ++i) target[i] = j + i < last ? source[j + i] : 0.0F;
      }
    }
  }
}

/// Rounds `size` floats in place to bf16 values.
inline void RoundAllToBf16(float* data, int64_t size) {
  ForEachVector(size,
                [&](auto d, int64_t i) HWY_ATTR { hn::StoreU(RoundToBf16(d, hn::LoadU(d, data + i)), d, data + i); });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
