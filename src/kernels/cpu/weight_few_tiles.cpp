// Products of a few rows in the arithmetic of tiles (TDPBF16PS), without tiles: bound by memory, where a tile would be
// all but empty.
//
// The Intel 64 and IA-32 Architectures Software Developer's Manual (volume 2) defines a step over 32 k as two chains of
// fused multiply-adds from 0, one over the even and one over the odd k, whose sum is added to the output so far; all of
// it rounded to nearest even, with denormals taken for 0 before and after (DAZ and FTZ), whatever MXCSR says. Fp32
// multiply-adds under the same two flags do just that. (VDPBF16PS does not: it adds each pair of products to one sum.)
//
// A vector holds one pair of k of 16 steps that follow each other, so that a row of the weight is read from its
// beginning to its end: 16 whole lines at a time, transposed in registers. A product of bf16 is exact in fp32.

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "kernels/cpu/weight_bf16.h"

// GCC 12 takes the undefined vectors in its own headers for mistakes of ours (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define INCONTEXT_AVX512 __attribute__((target("avx512f,avx512dq")))

namespace incontext::kernels {
namespace {

constexpr std::size_t kStreams = 4;            // rows of the weight that are read side by side
constexpr int64_t kAhead = 1024;               // elements of a stream that are fetched ahead
constexpr int64_t kLanes = 16;                 // steps in a vector
constexpr int64_t kPart = kLanes * kBf16Step;  // of the depth: 1 KiB of a row

/// Denormals are 0 for this thread while one lives.
class DenormalsAreZero {
 public:
  DenormalsAreZero() : before_(_mm_getcsr()) { _mm_setcsr(before_ | _MM_FLUSH_ZERO_ON | kDenormalsAreZero); }
  ~DenormalsAreZero() { _mm_setcsr(before_); }
  DenormalsAreZero(const DenormalsAreZero&) = delete;
  DenormalsAreZero& operator=(const DenormalsAreZero&) = delete;

 private:
  static constexpr unsigned kDenormalsAreZero = 0x40;
  unsigned before_;
};

/// Half of each of two lines, 8 pairs of k.
INCONTEXT_AVX512 inline __m512i halves(const uint16_t* low, const uint16_t* high) {
  const __m512i first = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low)));
  return _mm512_inserti64x4(first, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(high)), 1);
}

/// out[p] = pair p of each of 16 steps, for the 8 pairs from `from` on. Meanwhile half of what comes later is fetched.
INCONTEXT_AVX512 inline void transpose_half(const uint16_t* from, const uint16_t* ahead, __m512i (&out)[8]) {
  __m512i lines[8];
#pragma GCC unroll 8
  for (std::size_t i = 0; i < 8; ++i) {  // steps 0 … 3 beside 4 … 7, then 8 … 11 beside 12 … 15
    const int64_t line = static_cast<int64_t>(i < 4 ? i : i + 4) * kBf16Step;
    _mm_prefetch(ahead + static_cast<int64_t>(i) * kBf16Step, _MM_HINT_T0);
    lines[i] = halves(from + line, from + line + 4 * kBf16Step);
  }
  __m512i fours[8];  // [steps 0 … 7 or 8 … 15][pair modulo 4]: pairs p and p + 4 in every other quarter
#pragma GCC unroll 2
  for (std::size_t i = 0; i < 8; i += 4) {
    const __m512i low01 = _mm512_unpacklo_epi32(lines[i], lines[i + 1]);
    const __m512i high01 = _mm512_unpackhi_epi32(lines[i], lines[i + 1]);
    const __m512i low23 = _mm512_unpacklo_epi32(lines[i + 2], lines[i + 3]);
    const __m512i high23 = _mm512_unpackhi_epi32(lines[i + 2], lines[i + 3]);
    fours[i] = _mm512_unpacklo_epi64(low01, low23);
    fours[i + 1] = _mm512_unpackhi_epi64(low01, low23);
    fours[i + 2] = _mm512_unpacklo_epi64(high01, high23);
    fours[i + 3] = _mm512_unpackhi_epi64(high01, high23);
  }
#pragma GCC unroll 4
  for (std::size_t p = 0; p < 4; ++p) {
    out[p] = _mm512_shuffle_i32x4(fours[p], fours[p + 4], 0b10'00'10'00);
    out[p + 4] = _mm512_shuffle_i32x4(fours[p], fours[p + 4], 0b11'01'11'01);
  }
}

/// step[c][r] = 16 steps of column c of a weight with row r, from its k on. x is [kRows][2 parities][16 pairs][16
/// steps]. Some columns at once, because each sum is a chain of 16 multiply-adds.
template <std::size_t kRows, std::size_t kColumns>
INCONTEXT_AVX512 inline void multiply_steps(const float* x, const uint16_t* const* from, const uint16_t* const* ahead,
                                            float* step) {
  __m512 even[kColumns][kRows];
  __m512 odd[kColumns][kRows];
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kColumns * kRows; ++i)
    even[i / kRows][i % kRows] = odd[i / kRows][i % kRows] = _mm512_setzero_ps();
#pragma GCC unroll 2
  for (int64_t half = 0; half < 2; ++half) {
    __m512i pairs[kColumns][8];
#pragma GCC unroll 4
    for (std::size_t c = 0; c < kColumns; ++c) {
      transpose_half(from[c] + half * kBf16Step / 2, ahead[c] + half * kPart / 2, pairs[c]);
    }
#pragma GCC unroll 8
    for (int64_t p = 0; p < 8; ++p) {
      const auto at = static_cast<std::size_t>(p);
#pragma GCC unroll 4
      for (std::size_t c = 0; c < kColumns; ++c) {
        const __m512 left = _mm512_castsi512_ps(_mm512_slli_epi32(pairs[c][at], 16));
        const __m512 right =
            _mm512_castsi512_ps(_mm512_and_epi32(pairs[c][at], _mm512_set1_epi32(static_cast<int>(0xFFFF0000U))));
#pragma GCC unroll 4
        for (std::size_t r = 0; r < kRows; ++r) {
          const float* row = x + static_cast<int64_t>(r) * kPart + (half * 8 + p) * kLanes;
          even[c][r] = _mm512_fmadd_ps(_mm512_load_ps(row), left, even[c][r]);
          odd[c][r] = _mm512_fmadd_ps(_mm512_load_ps(row + kPart / 2), right, odd[c][r]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (std::size_t c = 0; c < kColumns; ++c) {
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kRows; ++r) {
      _mm512_store_ps(step + (c * kRows + r) * static_cast<std::size_t>(kLanes), _mm512_add_ps(even[c][r], odd[c][r]));
    }
  }
}

/// sums[i] += step[i][0], then step[i][1] …, for four i.
INCONTEXT_AVX512 inline void add_in_order(const float* step, int64_t steps, float* sums) {
  __m128 sum = _mm_loadu_ps(sums);
  if (steps == kLanes) {
#pragma GCC unroll 4
    for (int64_t s = 0; s < kLanes; s += 4) {
      __m128 rows[4];
#pragma GCC unroll 4
      for (int64_t i = 0; i < 4; ++i) rows[i] = _mm_load_ps(step + i * kLanes + s);
      _MM_TRANSPOSE4_PS(rows[0], rows[1], rows[2], rows[3]);
#pragma GCC unroll 4
      for (const __m128& row : rows) sum = _mm_add_ps(sum, row);
    }
  } else {
    for (int64_t s = 0; s < steps; ++s) {
      sum = _mm_add_ps(sum, _mm_set_ps(step[3 * kLanes + s], step[2 * kLanes + s], step[kLanes + s], step[s]));
    }
  }
  _mm_storeu_ps(sums, sum);
}

/// sums[c][r] = column c of the weight times row r. Compiled by itself, because no arithmetic in it may move out of
/// where denormals are 0.
template <std::size_t kRows>
INCONTEXT_AVX512 __attribute__((noinline)) void dot_columns(const float* x, const uint16_t* const (&column)[kStreams],
                                                            int64_t depth, float (&sums)[kStreams * kRows]) {
  constexpr std::size_t kAtOnce = kRows <= 2 ? 2 : 1;
  static_assert(kStreams == 4);  // so that there are fours of sums
  alignas(64) float step[kStreams * kRows * static_cast<std::size_t>(kLanes)];
  alignas(64) uint16_t rest[kStreams][kPart];
  std::fill_n(sums, kStreams * kRows, 0.0F);
  for (int64_t k = 0; k < depth; k += kPart, x += static_cast<int64_t>(kRows) * kPart) {
    const int64_t there = std::min(kPart, depth - k);
    const uint16_t* from[kStreams];
    const uint16_t* ahead[kStreams];
    for (std::size_t c = 0; c < kStreams; ++c) {
      from[c] = column[c] + k;
      ahead[c] = from[c] + kAhead;
      if (there == kPart) continue;
      std::fill_n(std::copy_n(from[c], there, rest[c]), kPart - there, uint16_t{0});
      from[c] = rest[c];
    }
#pragma GCC unroll 4
    for (std::size_t c = 0; c < kStreams; c += kAtOnce) {
      multiply_steps<kRows, kAtOnce>(x, from + c, ahead + c, step + c * kRows * static_cast<std::size_t>(kLanes));
    }
    for (std::size_t i = 0; i < kStreams * kRows; i += 4) {
      add_in_order(step + i * static_cast<std::size_t>(kLanes), (there + kBf16Step - 1) / kBf16Step, sums + i);
    }
  }
}

/// The columns are cut into stripes that are walked side by side, each one an unbroken stream.
template <std::size_t kRows>
void multiply(const float* x, int64_t depth, const WeightMatrix& w, int64_t row, int64_t column, int64_t columns) {
  const auto* weight = static_cast<const uint16_t*>(w.weight);
  const int64_t stripe = (columns + static_cast<int64_t>(kStreams) - 1) / static_cast<int64_t>(kStreams);
  for (int64_t j = 0; j < stripe; ++j) {
    const uint16_t* stream[kStreams];
    for (std::size_t c = 0; c < kStreams; ++c) {
      const int64_t place = std::min(static_cast<int64_t>(c) * stripe + j, columns - 1);
      stream[c] = weight + (column + place) * w.stride;
    }
    float sums[kStreams * kRows];
    {
      const DenormalsAreZero scope;
      dot_columns<kRows>(x, stream, depth, sums);
    }
    for (std::size_t c = 0; c < kStreams; ++c) {
      const int64_t place = static_cast<int64_t>(c) * stripe + j;
      if (place >= columns) break;
      for (std::size_t r = 0; r < kRows; ++r) {
        store_output(w, row + static_cast<int64_t>(r), column + place, sums[c * kRows + r]);
      }
    }
  }
}

}  // namespace

bool has_few_rows_for_tiles() {
  static const bool present = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512dq") != 0;
  return present;
}

int64_t few_rows_size(int64_t rows, int64_t depth) { return 2 * rows * ((depth + kPart - 1) / kPart * kPart); }

void pack_few_rows(const uint16_t* rows, int64_t count, int64_t depth, float* out) {
  const int64_t steps = (depth + kBf16Step - 1) / kBf16Step;
  std::fill_n(out, few_rows_size(count, depth) / 2, 0.0F);
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t step = 0; step < steps; ++step) {
      float* to = out + (step / kLanes * count + r) * kPart + step % kLanes;
      for (int64_t k = 0; k < kBf16Step; k += 2, rows += 2, to += kLanes) {
        to[0] = std::bit_cast<float>(static_cast<uint32_t>(rows[0]) << 16U);
        to[kPart / 2] = std::bit_cast<float>(static_cast<uint32_t>(rows[1]) << 16U);
      }
    }
  }
}

void multiply_few_rows(const Bf16Rows& x, const WeightMatrix& w, int64_t row, int64_t rows, int64_t column,
                       int64_t columns) {
  INCONTEXT_ASSERT(rows == x.strip && rows >= 1 && rows <= kFewTileRows);
  if (columns == 0) return;
  const auto* data = reinterpret_cast<const float*>(x.data);
  if (rows == 1) return multiply<1>(data, x.depth, w, row, column, columns);
  if (rows == 2) return multiply<2>(data, x.depth, w, row, column, columns);
  if (rows == 3) return multiply<3>(data, x.depth, w, row, column, columns);
  multiply<4>(data, x.depth, w, row, column, columns);
}

}  // namespace incontext::kernels
