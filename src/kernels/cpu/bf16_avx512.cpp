// Products of bf16 factors by VDPBF16PS (AVX-512 BF16), which multiplies twice as many pairs a cycle as an fp32
// multiply-add does. Only the functions marked here are compiled for it, and none of them runs where the processor
// lacks it.

#include <cpuid.h>
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/avx512_bf16.h"
#include "kernels/cpu/bf16_tiles.h"

namespace incontext::kernels {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kHalf = kTileBlockSize / 2;

/// Where a row of a left block begins.
constexpr int64_t row_offset(std::size_t row) {
  return static_cast<int64_t>(row / 16) * kHalf + static_cast<int64_t>(row % 16) * kTileBlock;
}

INCONTEXT_AVX512_BF16 inline __m512bh load_pairs(const uint16_t* from) { return (__m512bh)_mm512_loadu_si512(from); }

/// One pair of k in all lanes.
INCONTEXT_AVX512_BF16 inline __m512bh repeat_pair(const uint16_t* from) {
  int pair = 0;
  std::memcpy(&pair, from, sizeof pair);
  return (__m512bh)_mm512_set1_epi32(pair);
}

/// Rows [kFirst, kFirst + 8) of a block of sums in 16 registers: enough for the instruction's latency, and each loaded
/// vector is used 8 times, each repeated pair twice.
template <std::size_t kFirst>
INCONTEXT_AVX512_BF16 inline void multiply_rows(const uint16_t* left, const uint16_t* right, int64_t steps, float* sums,
                                                int64_t stride) {
  constexpr std::size_t kRows = 8;
  __m512 low[kRows];
  __m512 high[kRows];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r) low[r] = high[r] = _mm512_setzero_ps();
  for (int64_t step = 0; step < steps; ++step, left += kTileBlockSize, right += kTileBlockSize) {
    for (int64_t k = 0; k < kTileBlock; k += 2) {
      const __m512bh right_low = load_pairs(right + k * kLanes);
      const __m512bh right_high = load_pairs(right + kHalf + k * kLanes);
#pragma GCC unroll 8
      for (std::size_t r = 0; r < kRows; ++r) {
        const __m512bh pair = repeat_pair(left + row_offset(kFirst + r) + k);
        low[r] = _mm512_dpbf16_ps(low[r], pair, right_low);
        high[r] = _mm512_dpbf16_ps(high[r], pair, right_high);
      }
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r) {
    float* to = sums + static_cast<int64_t>(kFirst + r) * stride;
    _mm512_storeu_ps(to, low[r]);
    _mm512_storeu_ps(to + kLanes, high[r]);
  }
}

INCONTEXT_AVX512_BF16 void multiply_strip(const uint16_t* left, const uint16_t* right, int64_t steps, int64_t blocks,
                                          float* sums) {
  const int64_t stride = blocks * kTileBlock;
  for (int64_t block = 0; block < blocks; ++block, right += steps * kTileBlockSize, sums += kTileBlock) {
    multiply_rows<0>(left, right, steps, sums, stride);
    multiply_rows<8>(left, right, steps, sums, stride);
    multiply_rows<16>(left, right, steps, sums, stride);
    multiply_rows<24>(left, right, steps, sums, stride);
  }
}

}  // namespace

bool has_avx512_bf16() {
  static const bool present = [] {
    constexpr unsigned kBf16 = 1U << 5U;
    unsigned a = 0, b = 0, c = 0, d = 0;
    // Asks the system about the registers, too.
    if (__builtin_cpu_supports("avx512bw") == 0 || __builtin_cpu_supports("avx512vl") == 0) return false;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & kBf16) != 0;
  }();
  return present;
}

TileStrip avx512_bf16_strip() { return has_avx512_bf16() ? &multiply_strip : nullptr; }

}  // namespace incontext::kernels
