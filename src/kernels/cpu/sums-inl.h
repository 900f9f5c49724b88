// Sums over a row, and over rows that several pieces of work summed apart. Included once per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_SUMS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_SUMS_INL_H
#undef INCONTEXT_KERNELS_CPU_SUMS_INL_H
#else
#define INCONTEXT_KERNELS_CPU_SUMS_INL_H
#endif

#include <algorithm>

#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/storage-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// sum over i in 0 … size-1 of term(tag, i), in two vectors of partial sums.
template <class Term>
HWY_INLINE float SumOf(int64_t size, const Term& term) {
  const Full d;
  auto even = hn::Zero(d);
  auto odd = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * kLanes <= size; i += 2 * kLanes) {
    even = hn::Add(even, term(d, i));
    odd = hn::Add(odd, term(d, i + kLanes));
  }
  if (i + kLanes <= size) {
    even = hn::Add(even, term(d, i));
    i += kLanes;
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < size; ++i) sum += hn::GetLane(term(One(), i));
  return sum;
}

/// sums[j] = sum over i of x[i * x_stride + j].
template <class T>
void SumColumnsOf(int64_t rows, int64_t columns, const T* x, int64_t x_stride, float* sums) {
  const auto load = [](auto d, const T* from) HWY_ATTR { return LoadStored<kStorageOf<T>>(d, from); };
  ForEachVector(columns, [&](auto d, int64_t j) HWY_ATTR {
    auto even = hn::Zero(d);
    auto odd = hn::Zero(d);
    int64_t i = 0;
    for (; i + 2 <= rows; i += 2) {
      even = hn::Add(even, load(d, x + i * x_stride + j));
      odd = hn::Add(odd, load(d, x + (i + 1) * x_stride + j));
    }
    if (i < rows) even = hn::Add(even, load(d, x + i * x_stride + j));
    hn::StoreU(hn::Add(even, odd), d, sums + j);
  });
}

inline void SumColumns(int64_t rows, int64_t columns, const ConstArray& x, int64_t x_stride, float* sums) {
  if (x.is_bf16()) return SumColumnsOf(rows, columns, x.bf16(), x_stride, sums);
  SumColumnsOf(rows, columns, x.f32(), x_stride, sums);
}

/// sums[j] += sum over i of x[i * x_stride + j].
inline void AddColumnSums(int64_t rows, int64_t columns, const ConstArray& x, int64_t x_stride, float* sums) {
  constexpr int64_t kSpan = 128;
  HWY_ALIGN float part[kSpan];
  for (int64_t first = 0; first < columns; first += kSpan) {
    const int64_t count = std::min(kSpan, columns - first);
    SumColumns(rows, count, x + first, x_stride, part);
    ForEachVector(count, [&](auto d, int64_t j) HWY_ATTR {
      hn::StoreU(hn::Add(hn::LoadU(d, sums + first + j), hn::LoadU(d, part + j)), d, sums + first + j);
    });
  }
}

/// total[j] = sum over pieces of sums[piece * stride + j], in order.
inline void AddPieces(const float* sums, int64_t pieces, int64_t stride, int64_t size, float* total) {
  ForEachVector(size, [&](auto d, int64_t j) HWY_ATTR {
    auto sum = hn::Zero(d);
    for (int64_t piece = 0; piece < pieces; ++piece) sum = hn::Add(sum, hn::LoadU(d, sums + piece * stride + j));
    hn::StoreU(sum, d, total + j);
  });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
