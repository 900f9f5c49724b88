// Products with bf16 weights by VDPBF16PS (AVX-512 BF16): sum += a[2l] b[2l] + a[2l + 1] b[2l + 1] in each lane l,
// straight from the weight, without widening. Only the functions marked here are compiled for it, and none of them runs
// where the processor lacks it.

#include <immintrin.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/avx512_bf16.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/weight_bf16.h"

namespace incontext::kernels {
namespace {

constexpr std::size_t kColumns = 6;    // of a tile of 4 rows: 24 sums leave registers for the factors
constexpr int64_t kDepthBlock = 1024;  // part of the contract: the order of a sum. 12 KiB of a panel of W
constexpr int64_t kAhead = 2048;       // elements of a stream that are fetched ahead

/// Up to 32 elements, with 0 for those from `count` on, which are not read.
INCONTEXT_AVX512_BF16 inline __m512bh load_part(const uint16_t* from, int64_t count) {
  const auto wanted = static_cast<__mmask32>(count >= kBf16Step ? ~0U : (1U << static_cast<unsigned>(count)) - 1U);
  return (__m512bh)_mm512_maskz_loadu_epi16(wanted, from);
}

INCONTEXT_AVX512_BF16 inline __m512bh load_whole(const uint16_t* from) { return (__m512bh)_mm512_loadu_si512(from); }

/// out[i] = sum of the lanes of v[i] (+ out[i] when kAdd), i < 4: each by the same tree, whatever the others are.
template <bool kAdd>
INCONTEXT_AVX512_BF16 inline void sum_four(const __m512* v, float* out) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
  const __m512 ce = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
  const __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(ce));
  const __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(ce));
  const __m512 four = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
  const __m512 swapped = _mm512_shuffle_f32x4(four, four, 0b01'00'11'10);  // halves exchanged
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(four), _mm512_castps512_ps256(swapped));
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  if constexpr (kAdd) sum = _mm_add_ps(_mm_loadu_ps(out), sum);
  _mm_storeu_ps(out, sum);
}

/// A tile over one block of the depth: out[c * kRows + r] (+)= x[r]·w[c]. Vectors of a column of W are kStep elements
/// apart: those of one column in memory, or of a packed panel. `part` elements of W lie behind the whole steps.
template <std::size_t kRows, std::size_t kTileColumns, int64_t kStep, bool kAdd>
INCONTEXT_AVX512_BF16 inline void dot_tile(const uint16_t* x, const uint16_t* const* w, int64_t steps, int64_t part,
                                           float* out) {
  static_assert(kRows * kTileColumns % 4 == 0);
  __m512 sum[kRows * kTileColumns];
  const uint16_t* column[kTileColumns];
#pragma GCC unroll 24
  for (std::size_t i = 0; i < kRows * kTileColumns; ++i) sum[i] = _mm512_setzero_ps();
#pragma GCC unroll 8
  for (std::size_t c = 0; c < kTileColumns; ++c) column[c] = w[c];
  int64_t at = 0;
  for (int64_t step = 0; step < steps; ++step, at += kStep, x += kRows * static_cast<std::size_t>(kBf16Step)) {
    __m512bh left[kRows];
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kRows; ++r) left[r] = load_whole(x + static_cast<int64_t>(r) * kBf16Step);
#pragma GCC unroll 8
    for (std::size_t c = 0; c < kTileColumns; ++c) {
      if constexpr (kStep == kBf16Step) _mm_prefetch(column[c] + at + kAhead, _MM_HINT_T0);
      const __m512bh right = load_whole(column[c] + at);
#pragma GCC unroll 4
      for (std::size_t r = 0; r < kRows; ++r) {
        sum[c * kRows + r] = _mm512_dpbf16_ps(sum[c * kRows + r], left[r], right);
      }
    }
  }
  if (part > 0) {
    for (std::size_t c = 0; c < kTileColumns; ++c) {
      const __m512bh right = load_part(column[c] + at, part);
      for (std::size_t r = 0; r < kRows; ++r) {
        const __m512bh left = load_whole(x + static_cast<int64_t>(r) * kBf16Step);
        sum[c * kRows + r] = _mm512_dpbf16_ps(sum[c * kRows + r], left, right);
      }
    }
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kRows * kTileColumns; i += 4) sum_four<kAdd>(sum + i, out + i);
}

/// Stores what is an output of a tile of sums[c * strip + r].
void finish(const WeightMatrix& w, const float* sums, int64_t strip, int64_t row, int64_t rows, int64_t column,
            int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) store_output(w, row + r, column + c, sums[c * strip + r]);
  }
}

/// One strip: bound by memory. The columns are cut into stripes that are walked side by side, each one an unbroken
/// stream.
template <std::size_t kRows, std::size_t kStreams>
INCONTEXT_AVX512_BF16 void multiply_strip(const Bf16Rows& x, const WeightMatrix& w, int64_t row, int64_t rows,
                                          int64_t column, int64_t columns) {
  const auto* weight = static_cast<const uint16_t*>(w.weight);
  const int64_t stripe = (columns + static_cast<int64_t>(kStreams) - 1) / static_cast<int64_t>(kStreams);
  for (int64_t j = 0; j < stripe; ++j) {
    const uint16_t* stream[kStreams];
    for (std::size_t c = 0; c < kStreams; ++c) {
      const int64_t place = std::min(static_cast<int64_t>(c) * stripe + j, columns - 1);
      stream[c] = weight + (column + place) * w.stride;
    }
    float sums[kRows * kStreams] = {};
    const uint16_t* left = x.data + row * x.padded_depth();
    for (int64_t k = 0; k < x.depth; k += kDepthBlock) {
      const int64_t depth = std::min(kDepthBlock, x.depth - k);
      dot_tile<kRows, kStreams, kBf16Step, true>(left, stream, depth / kBf16Step, depth % kBf16Step, sums);
      left += kDepthBlock * static_cast<int64_t>(kRows);
      for (const uint16_t*& from : stream) from += kDepthBlock;
    }
    for (std::size_t c = 0; c < kStreams; ++c) {
      const int64_t place = static_cast<int64_t>(c) * stripe + j;
      if (place >= columns) break;
      finish(w, sums + c * kRows, static_cast<int64_t>(kRows), row, rows, column + place, 1);
    }
  }
}

/// kColumns columns over a block of the depth as [step][kColumns][kBf16Step]; what is missing is 0. The columns of the
/// next panel are fetched meanwhile.
INCONTEXT_AVX512_BF16 void pack_panel(const uint16_t* weight, int64_t stride, int64_t columns, int64_t depth,
                                      uint16_t* out) {
  constexpr auto kCount = static_cast<int64_t>(kColumns);
  for (int64_t c = 0; c < kCount; ++c, out += kBf16Step) {
    const uint16_t* from = weight + c * stride;
    uint16_t* to = out;
    for (int64_t k = 0; k < depth; k += kBf16Step, to += kCount * kBf16Step) {
      if (c < columns) _mm_prefetch(from + kCount * stride + k, _MM_HINT_T1);
      const __m512bh vector = load_part(from + k, c < columns ? depth - k : 0);
      _mm512_storeu_si512(to, (__m512i)vector);
    }
  }
}

/// Several strips: bound by arithmetic. Each panel of W is packed once and stays in the first-level cache.
INCONTEXT_AVX512_BF16 void multiply_strips(const Bf16Rows& x, const WeightMatrix& w, int64_t row, int64_t rows,
                                           int64_t column, int64_t columns) {
  constexpr int64_t kStrip = 4;
  constexpr auto kCount = static_cast<int64_t>(kColumns);
  const auto* weight = static_cast<const uint16_t*>(w.weight);
  const int64_t strips = (rows + kStrip - 1) / kStrip;
  auto* panel = reinterpret_cast<uint16_t*>(scratch(Scratch::right, kCount * kDepthBlock / 2));
  float* sums = scratch(Scratch::scores, strips * kStrip * kCount);
  const uint16_t* packed[kColumns];
  for (int64_t c = 0; c < kCount; ++c) packed[c] = panel + c * kBf16Step;
  for (int64_t j = 0; j < columns; j += kCount) {
    const int64_t wide = std::min(kCount, columns - j);
    if (x.depth == 0) std::fill_n(sums, strips * kStrip * kCount, 0.0F);
    for (int64_t k = 0; k < x.depth; k += kDepthBlock) {
      const int64_t depth = std::min(kDepthBlock, x.depth - k);
      const int64_t steps = (depth + kBf16Step - 1) / kBf16Step;
      pack_panel(weight + (column + j) * w.stride + k, w.stride, wide, depth, panel);
      for (int64_t s = 0; s < strips; ++s) {
        const uint16_t* left = x.data + (row + s * kStrip) * x.padded_depth() + k * kStrip;
        float* tile = sums + s * kStrip * kCount;
        if (k == 0) {
          dot_tile<4, kColumns, kCount * kBf16Step, false>(left, packed, steps, 0, tile);
        } else {
          dot_tile<4, kColumns, kCount * kBf16Step, true>(left, packed, steps, 0, tile);
        }
      }
    }
    for (int64_t s = 0; s < strips; ++s) {
      finish(w, sums + s * kStrip * kCount, kStrip, row + s * kStrip, std::min(kStrip, rows - s * kStrip), column + j,
             wide);
    }
  }
}

/// [step][strip rows][kBf16Step], with 0 behind the depth and behind the last row.
INCONTEXT_AVX512_BF16 void pack_strip(const float* x, int64_t stride, int64_t count, int64_t depth, int64_t strip,
                                      uint16_t* out) {
  for (int64_t r = 0; r < strip; ++r, x += stride, out += kBf16Step) {
    uint16_t* to = out;
    for (int64_t k = 0; k < depth; k += kBf16Step, to += strip * kBf16Step) {
      const int64_t left = r < count ? std::min(kBf16Step, depth - k) : 0;
      const auto wanted = static_cast<unsigned>((uint64_t{1} << static_cast<unsigned>(left)) - 1);
      const __m512 low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(wanted), x + k);
      const __m512 high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(wanted >> 16U), x + k + 16);
      _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
  }
}

class Avx512Unit : public Bf16Unit {
 public:
  int64_t strip(int64_t rows) const override { return rows <= 2 ? rows : 4; }
  int64_t columns() const override { return 24; }

  void pack(const float* x, int64_t stride, int64_t count, int64_t depth, int64_t strip, uint16_t* out) const override {
    pack_strip(x, stride, count, depth, strip, out);
  }

  void multiply(const Bf16Rows& x, const WeightMatrix& w, int64_t row, int64_t rows, int64_t column,
                int64_t columns) const override {
    if (columns == 0) return;
    if (x.strip == 1) return multiply_strip<1, 4>(x, w, row, rows, column, columns);
    if (x.strip == 2) return multiply_strip<2, 4>(x, w, row, rows, column, columns);
    if (rows <= 4) return multiply_strip<4, kColumns>(x, w, row, rows, column, columns);
    multiply_strips(x, w, row, rows, column, columns);
  }
};

}  // namespace

const Bf16Unit* avx512_bf16_unit() {
  static const Avx512Unit unit;
  return has_avx512_bf16() ? &unit : nullptr;
}

}  // namespace incontext::kernels
