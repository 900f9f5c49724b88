// Products in dot form: both factors lie along the depth, as tokens, weights and cached keys do, and each lane sums its
// share of the depth. Included once per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_DOT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_DOT_INL_H
#undef INCONTEXT_KERNELS_CPU_DOT_INL_H
#else
#define INCONTEXT_KERNELS_CPU_DOT_INL_H
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/storage-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// The tile of many rows: 4 rows by 3 (AVX-512: 6) columns of sums leave registers for the factors.
constexpr std::size_t kDotRows = 4;
#if HWY_TARGET <= HWY_AVX3
constexpr std::size_t kDotColumns = 6;
#else
constexpr std::size_t kDotColumns = 3;
#endif
/// The same for a right factor in some storage: splitting bf16 takes registers of its own.
template <Storage kStorage>
constexpr std::size_t kStoredDotColumns = kUnitVectors<kStorage> == 2 && kDotColumns == 3 ? 2 : kDotColumns;
/// One row against this many columns: independent sums that hide the latency of a multiply-add, and as many streams
/// from memory, of which a processor reads several faster than one.
constexpr std::size_t kDotStreams = 4;

#if HWY_TARGET != HWY_SCALAR
/// Adds the upper half of a vector to the lower until four lanes are left.
template <class D>
HWY_INLINE hn::Vec<hn::FixedTag<float, 4>> FoldToFour(D d, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return FoldToFour(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}
#endif

/// out[i] = sum of the lanes of v[i] (+ out[i] when kAdd), i < 4: each by the same tree, whatever the others are.
template <bool kAdd, class V>
HWY_INLINE void SumFour(const V* v, float* out) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t i = 0; i < 4; ++i) out[i] = kAdd ? out[i] + hn::GetLane(v[i]) : hn::GetLane(v[i]);
#else
  const Full d;
  const hn::Repartition<double, Full> pairs;
  const hn::FixedTag<float, 4> four;
  const auto ab = hn::Add(hn::InterleaveLower(d, v[0], v[1]), hn::InterleaveUpper(d, v[0], v[1]));
  const auto ce = hn::Add(hn::InterleaveLower(d, v[2], v[3]), hn::InterleaveUpper(d, v[2], v[3]));
  const auto low = hn::InterleaveLower(pairs, hn::BitCast(pairs, ab), hn::BitCast(pairs, ce));
  const auto high = hn::InterleaveUpper(pairs, hn::BitCast(pairs, ab), hn::BitCast(pairs, ce));
  auto sums = FoldToFour(d, hn::Add(hn::BitCast(d, low), hn::BitCast(d, high)));
  if constexpr (kAdd) sums = hn::Add(hn::LoadU(four, out), sums);
  hn::StoreU(sums, four, out);
#endif
}

/// How far ahead of their use streams from memory are fetched: the processor's own prefetcher is cautious with several
/// streams, each of which ends soon.
constexpr int64_t kBytesAhead = 4096;

/// The sums over the depth of a tile: out[c * kRows + r] (+)= x[r]·w[c]. Rows of x are in the order of units of
/// kStorage, and where that is not the natural one, 0 fills their last unit. w is fetched ahead.
template <Storage kStorage, std::size_t kRows, std::size_t kColumns, bool kAdd>
HWY_INLINE void DotTile(const float* const* x, const Element<kStorage>* const* w, int64_t depth, float* out) {
  static_assert(kRows * kColumns % 4 == 0);
  constexpr auto kSize = static_cast<int64_t>(sizeof(Element<kStorage>));
  constexpr int64_t kAhead = kBytesAhead / kSize;
  constexpr int64_t kLine = kRows > 2 ? kUnit<kStorage> : std::max(64 / kSize, kUnit<kStorage>);
  const Full d;
  using V = hn::Vec<Full>;
  V sum[kRows * kColumns];
#pragma GCC unroll 32
  for (std::size_t i = 0; i < kRows * kColumns; ++i) sum[i] = hn::Zero(d);
  const float* row[kRows];
#pragma GCC unroll 4
  for (std::size_t r = 0; r < kRows; ++r) row[r] = x[r];
  const auto add_unit = [&](int64_t k) HWY_ATTR {
#pragma GCC unroll 2
    for (int64_t v = 0; v < kUnitVectors<kStorage>; ++v) {
      // Keeps the compiler from making both vectors of a unit at once, for which many rows have no registers left.
      if constexpr (kRows > 2) std::atomic_signal_fence(std::memory_order_acq_rel);
      V right[kColumns];
#pragma GCC unroll 16
      for (std::size_t c = 0; c < kColumns; ++c) right[c] = LoadUnitVector<kStorage>(w[c] + k, v);
#pragma GCC unroll 4
      for (std::size_t r = 0; r < kRows; ++r) {
        V left = hn::LoadU(d, row[r] + k + v * kLanes);
        if constexpr (kRows > 2) KeepInRegister(left);
#pragma GCC unroll 16
        for (std::size_t c = 0; c < kColumns; ++c) sum[c * kRows + r] = hn::MulAdd(left, right[c], sum[c * kRows + r]);
      }
    }
  };
  int64_t k = 0;
#pragma GCC unroll 2
  for (; k + kLine <= depth; k += kLine) {
#pragma GCC unroll 16
    for (std::size_t c = 0; c < kColumns; ++c) hwy::Prefetch(w[c] + k + kAhead);
#pragma GCC unroll 4
    for (int64_t unit = 0; unit < kLine; unit += kUnit<kStorage>) add_unit(k + unit);
  }
  if constexpr (kLine > kUnit<kStorage>) {
    for (; k + kUnit<kStorage> <= depth; k += kUnit<kStorage>) add_unit(k);
  }
  if (k < depth) {
    for (int64_t v = 0; v < kUnitVectors<kStorage>; ++v) {
      V left[kRows];
#pragma GCC unroll 4
      for (std::size_t r = 0; r < kRows; ++r) {
        left[r] = kUnitVectors<kStorage> == 1 ? LoadUnitVectorPart<Storage::f32>(row[r] + k, depth - k, 0)
                                              : hn::LoadU(d, row[r] + k + v * kLanes);
      }
#pragma GCC unroll 16
      for (std::size_t c = 0; c < kColumns; ++c) {
        const V right = LoadUnitVectorPart<kStorage>(w[c] + k, depth - k, v);
#pragma GCC unroll 4
        for (std::size_t r = 0; r < kRows; ++r) sum[c * kRows + r] = hn::MulAdd(left[r], right, sum[c * kRows + r]);
      }
    }
  }
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kRows * kColumns; i += 4) SumFour<kAdd>(sum + i, out + i);
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
