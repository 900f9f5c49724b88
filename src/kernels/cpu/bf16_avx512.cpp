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

INCONTEXT_AVX512_BF16 inline __m512bh load_pairs(const uint16_t* from) { return (__m512bh)_mm512_loadu_si512(from); }

/// One pair of k in all lanes.
INCONTEXT_AVX512_BF16 inline __m512bh repeat_pair(const uint16_t* from) {
  int pair = 0;
  std::memcpy(&pair, from, sizeof pair);
  return (__m512bh)_mm512_set1_epi32(pair);
}

/// 8 rows of a block of sums in 16 registers: enough for the instruction's latency, and each loaded vector is used 8
/// times, each repeated pair twice.
INCONTEXT_AVX512_BF16 inline void multiply_rows(const LeftStrip& left, const uint16_t* right, int64_t steps,
                                                float* sums, int64_t stride, Fetches& fetches, int64_t at_once) {
  constexpr std::size_t kRows = 8;
  __m512 low[kRows];
  __m512 high[kRows];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r) low[r] = high[r] = _mm512_setzero_ps();
  // Two pointers and two distances reach all rows.
  const int64_t row = left.row, three = 3 * row, pair = left.pair;
  const uint16_t* upper = left.data;
  const uint16_t* lower = upper + 4 * row;
  const int64_t skip = left.step - kTileBlock / 2 * pair;
  for (int64_t step = 0; step < steps; ++step, upper += skip, lower += skip, right += kHalf) {
    fetches.fetch(at_once);
    for (int64_t k = 0; k < kTileBlock; k += 2, upper += pair, lower += pair, right += 2 * kLanes) {
      const __m512bh right_low = load_pairs(right);
      const __m512bh right_high = load_pairs(right + kHalf);
      const auto add = [&](std::size_t r, const uint16_t* from) INCONTEXT_AVX512_BF16 {
        const __m512bh repeated = repeat_pair(from);
        low[r] = _mm512_dpbf16_ps(low[r], repeated, right_low);
        high[r] = _mm512_dpbf16_ps(high[r], repeated, right_high);
      };
      add(0, upper), add(1, upper + row), add(2, upper + 2 * row), add(3, upper + three);
      add(4, lower), add(5, lower + row), add(6, lower + 2 * row), add(7, lower + three);
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r) {
    float* to = sums + static_cast<int64_t>(r) * stride;
    _mm512_storeu_ps(to, low[r]);
    _mm512_storeu_ps(to + kLanes, high[r]);
  }
}

INCONTEXT_AVX512_BF16 void multiply_strip(const LeftStrip& left, const uint16_t* right, int64_t steps, int64_t blocks,
                                          float* sums, Fetches& fetches) {
  const int64_t stride = blocks * kTileBlock;
  const int64_t at_once = steps == 0 ? 0 : fetches.lines() / (blocks * steps * ((left.rows + 7) / 8)) + 1;
  for (int64_t block = 0; block < blocks; ++block, right += steps * kTileBlockSize, sums += kTileBlock) {
    LeftStrip part = left;
    for (int64_t r = 0; r < left.rows; r += 8, part.data += 8 * left.row) {
      multiply_rows(part, right, steps, sums + r * stride, stride, fetches, at_once);
    }
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
