// Products of queries with the atoms of a dictionary, and sums of its rows. Included once per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_DICTIONARY_PRODUCTS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_DICTIONARY_PRODUCTS_INL_H
#undef INCONTEXT_KERNELS_CPU_DICTIONARY_PRODUCTS_INL_H
#else
#define INCONTEXT_KERNELS_CPU_DICTIONARY_PRODUCTS_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/storage-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kPanelAtoms = 16;  // of SparseAttention::key_panels

/// Products of up to four queries with the atoms of one panel: out[lane * stride + h].
template <std::size_t kHeads>
HWY_INLINE void PanelProducts(const uint16_t* panel, int64_t dim, const float* const* q, float* out, int64_t stride) {
  constexpr std::size_t kOne = std::min(std::size_t{16}, static_cast<std::size_t>(kLanes));
  constexpr std::size_t kParts = 16 / kOne;
  const hn::FixedTag<float, kOne> d;
  using V = hn::Vec<decltype(d)>;
  V sums[kHeads][kParts];
#pragma GCC unroll 4
  for (std::size_t h = 0; h < kHeads; ++h) {
#pragma GCC unroll 16
    for (std::size_t p = 0; p < kParts; ++p) sums[h][p] = hn::Zero(d);
  }
  for (int64_t k = 0; k < dim; ++k) {
    V atoms[kParts];
#pragma GCC unroll 16
    for (std::size_t p = 0; p < kParts; ++p) {
      atoms[p] = LoadStored<Storage::f16>(d, panel + k * kPanelAtoms + static_cast<int64_t>(p * kOne));
    }
#pragma GCC unroll 4
    for (std::size_t h = 0; h < kHeads; ++h) {
      const V query = hn::Set(d, q[h][k]);
#pragma GCC unroll 16
      for (std::size_t p = 0; p < kParts; ++p) sums[h][p] = hn::MulAdd(atoms[p], query, sums[h][p]);
    }
  }
  HWY_ALIGN float lanes[kHeads][16];
#pragma GCC unroll 4
  for (std::size_t h = 0; h < kHeads; ++h) {
#pragma GCC unroll 16
    for (std::size_t p = 0; p < kParts; ++p) hn::Store(sums[h][p], d, lanes[h] + p * kOne);
  }
  for (int64_t lane = 0; lane < kPanelAtoms; ++lane) {
#pragma GCC unroll 4
    for (std::size_t h = 0; h < kHeads; ++h) out[lane * stride + static_cast<int64_t>(h)] = lanes[h][lane];
  }
}

/// out[h * dim + i] = sum over the atoms of a slice of sums[atom, h] rows[atom, i], for kHeads heads and kVectors
/// vectors of the head.
template <std::size_t kHeads, std::size_t kVectors>
HWY_INLINE void SumRows(const uint16_t* rows, int64_t dim, int64_t atoms, const float* sums, int64_t width,
                        float* out) {
  const Full d;
  using V = hn::Vec<Full>;
  V total[kHeads][kVectors];
#pragma GCC unroll 4
  for (std::size_t h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) total[h][v] = hn::Zero(d);
  }
  for (int64_t atom = 0; atom < atoms; ++atom) {
    V row[kVectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      row[v] = LoadStored<Storage::f16>(d, rows + atom * dim + static_cast<int64_t>(v) * kLanes);
    }
#pragma GCC unroll 4
    for (std::size_t h = 0; h < kHeads; ++h) {
      const V sum = hn::Set(d, sums[atom * width + static_cast<int64_t>(h)]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) total[h][v] = hn::MulAdd(sum, row[v], total[h][v]);
    }
  }
#pragma GCC unroll 4
  for (std::size_t h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      hn::StoreU(total[h][v], d, out + static_cast<int64_t>(h) * dim + static_cast<int64_t>(v) * kLanes);
    }
  }
}

/// SumRows for what is left of a head behind whole vectors.
inline void SumRowsTail(const uint16_t* rows, int64_t dim, int64_t first, int64_t atoms, const float* sums,
                        int64_t width, int64_t heads, float* out) {
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t i = first; i < dim; ++i) {
      float total = 0;
      for (int64_t atom = 0; atom < atoms; ++atom) total += sums[atom * width + h] * from_f16(rows[atom * dim + i]);
      out[h * dim + i] = total;
    }
  }
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
