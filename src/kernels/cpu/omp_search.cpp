// Approximate products of a dictionary with residuals in int8. Only the functions marked here are compiled for their
// instructions, and none of them runs where the processor lacks them.

#include "kernels/cpu/omp_search.h"

#include <immintrin.h>

#include <cstddef>
#include <cstring>

#include "kernels/cpu/dispatch.h"

#define INCONTEXT_AVX512_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define INCONTEXT_AVX2 __attribute__((target("avx2")))

// GCC 12 takes the undefined vectors in its own headers for mistakes of ours (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace incontext::kernels {
namespace {

int four_bytes(const int8_t* from) {
  int four = 0;
  std::memcpy(&four, from, sizeof four);
  return four;
}

/// What the offset of the atoms' bytes adds to every product of a row, taken away.
int32_t start_of(const int8_t* row, int64_t size, int32_t offset) {
  int32_t sum = 0;
  for (int64_t d = 0; d < size; ++d) sum += row[d];
  return -offset * sum;
}

/// VPDPBUSD.
struct Vnni {
  static constexpr int64_t kLanes = 16;
  static constexpr int32_t kOffset = 128;
  static constexpr std::size_t kRows = 12, kPanels = 2;

  /// kPanels panels with kRows vectors: their sums stay in registers.
  template <std::size_t kPanels, std::size_t kRows>
  INCONTEXT_AVX512_VNNI static void tile(const ByteDictionary& dictionary, int64_t panel, const int8_t* vectors,
                                         const int32_t* start, float* out, float* highest) {
    const int64_t groups = dictionary.groups, panel_bytes = groups * kLanes * 4;
    const uint8_t* atoms = dictionary.panels + panel * panel_bytes;
    __m512i sums[kPanels][kRows];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (std::size_t p = 0; p < kPanels; ++p) sums[p][r] = _mm512_set1_epi32(start[r]);
    }
    for (int64_t g = 0; g < groups; ++g) {
      __m512i left[kPanels];
#pragma GCC unroll 2
      for (std::size_t p = 0; p < kPanels; ++p) {
        left[p] = _mm512_loadu_si512(atoms + static_cast<int64_t>(p) * panel_bytes + g * 64);
      }
#pragma GCC unroll 16
      for (std::size_t r = 0; r < kRows; ++r) {
        const __m512i right = _mm512_set1_epi32(four_bytes(vectors + (static_cast<int64_t>(r) * groups + g) * 4));
#pragma GCC unroll 2
        for (std::size_t p = 0; p < kPanels; ++p) sums[p][r] = _mm512_dpbusd_epi32(sums[p][r], left[p], right);
      }
    }
#pragma GCC unroll 16
    for (std::size_t r = 0; r < kRows; ++r) {
      __m512 most = _mm512_loadu_ps(highest + static_cast<int64_t>(r) * kLanes);
#pragma GCC unroll 2
      for (std::size_t p = 0; p < kPanels; ++p) {
        const __m512 product = _mm512_abs_ps(_mm512_cvtepi32_ps(sums[p][r]));
        const int64_t at = static_cast<int64_t>(r) * dictionary.atoms + (panel + static_cast<int64_t>(p)) * kLanes;
        _mm512_storeu_ps(out + at, product);
        most = _mm512_max_ps(most, product);
      }
      _mm512_storeu_ps(highest + static_cast<int64_t>(r) * kLanes, most);
    }
  }
};

/// VPMADDUBSW, whose sums of two 16-bit products do not saturate because atoms have 7 bits.
struct Avx2 {
  static constexpr int64_t kLanes = 8;
  static constexpr int32_t kOffset = 64;
  static constexpr std::size_t kRows = 4, kPanels = 2;

  template <std::size_t kPanels, std::size_t kRows>
  INCONTEXT_AVX2 static void tile(const ByteDictionary& dictionary, int64_t panel, const int8_t* vectors,
                                  const int32_t* start, float* out, float* highest) {
    const int64_t groups = dictionary.groups, panel_bytes = groups * kLanes * 4;
    const uint8_t* atoms = dictionary.panels + panel * panel_bytes;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sums[kPanels][kRows];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (std::size_t p = 0; p < kPanels; ++p) sums[p][r] = _mm256_set1_epi32(start[r]);
    }
    for (int64_t g = 0; g < groups; ++g) {
      __m256i left[kPanels];
#pragma GCC unroll 2
      for (std::size_t p = 0; p < kPanels; ++p) {
        left[p] = _mm256_loadu_si256(
            reinterpret_cast<const __m256i*>(atoms + static_cast<int64_t>(p) * panel_bytes + g * 32));
      }
#pragma GCC unroll 8
      for (std::size_t r = 0; r < kRows; ++r) {
        const __m256i right = _mm256_set1_epi32(four_bytes(vectors + (static_cast<int64_t>(r) * groups + g) * 4));
#pragma GCC unroll 2
        for (std::size_t p = 0; p < kPanels; ++p) {
          const __m256i pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(left[p], right), ones);
          sums[p][r] = _mm256_add_epi32(sums[p][r], pairs);
        }
      }
    }
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      __m256 most = _mm256_loadu_ps(highest + static_cast<int64_t>(r) * kLanes);
#pragma GCC unroll 2
      for (std::size_t p = 0; p < kPanels; ++p) {
        const __m256 product = _mm256_and_ps(_mm256_cvtepi32_ps(sums[p][r]), magnitude);
        const int64_t at = static_cast<int64_t>(r) * dictionary.atoms + (panel + static_cast<int64_t>(p)) * kLanes;
        _mm256_storeu_ps(out + at, product);
        most = _mm256_max_ps(most, product);
      }
      _mm256_storeu_ps(highest + static_cast<int64_t>(r) * kLanes, most);
    }
  }
};

template <class Set, std::size_t kRows>
void search_rows(const ByteDictionary& dictionary, const int8_t* vectors, float* out, float* highest) {
  int32_t start[kRows];
  float most[kRows * Set::kLanes] = {};
  const int64_t row = dictionary.groups * 4;
  for (std::size_t r = 0; r < kRows; ++r)
    start[r] = start_of(vectors + static_cast<int64_t>(r) * row, row, Set::kOffset);
  const int64_t panels = dictionary.atoms / Set::kLanes;
  constexpr auto kPanels = static_cast<int64_t>(Set::kPanels);
  int64_t panel = 0;
  for (; panel + kPanels <= panels; panel += kPanels) {
    Set::template tile<Set::kPanels, kRows>(dictionary, panel, vectors, start, out, most);
  }
  for (; panel < panels; ++panel) Set::template tile<1, kRows>(dictionary, panel, vectors, start, out, most);
  for (std::size_t r = 0; r < kRows; ++r) {
    float largest = 0;
    for (int64_t lane = 0; lane < Set::kLanes; ++lane) {
      const float each = most[static_cast<int64_t>(r) * Set::kLanes + lane];
      largest = each > largest ? each : largest;
    }
    highest[r] = largest;
  }
}

template <class Set>
void search(const ByteDictionary& dictionary, const int8_t* vectors, int64_t count, float* out, float* highest) {
  const int64_t row = dictionary.groups * 4;
  constexpr auto kRows = static_cast<int64_t>(Set::kRows);
  int64_t done = 0;
  for (; done + kRows <= count; done += kRows) {
    search_rows<Set, Set::kRows>(dictionary, vectors + done * row, out + done * dictionary.atoms, highest + done);
  }
  for (; done < count; ++done) {
    search_rows<Set, 1>(dictionary, vectors + done * row, out + done * dictionary.atoms, highest + done);
  }
}

template <class Set>
constexpr ByteSearch kSearch = {Set::kLanes, Set::kOffset, search<Set>};

}  // namespace

const ByteSearch* usable_byte_search(bool avx2) {
  static const bool vnni = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                           __builtin_cpu_supports("avx512vnni");
  if (vnni && avx512_allowed()) return &kSearch<Vnni>;
  return avx2 ? &kSearch<Avx2> : nullptr;
}

}  // namespace incontext::kernels
