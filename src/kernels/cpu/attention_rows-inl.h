// What attention does to one row of scores. Included once per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_ATTENTION_ROWS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_ATTENTION_ROWS_INL_H
#undef INCONTEXT_KERNELS_CPU_ATTENTION_ROWS_INL_H
#else
#define INCONTEXT_KERNELS_CPU_ATTENTION_ROWS_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/array.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/storage-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct RowSoftmax {
  float sum, highest;
};

/// p[j] = exp2(factor * (s[j] - max s)) for j < count, 0 from there to `padded` (a multiple of kLanes).
inline RowSoftmax SoftmaxRow(float* scores, int64_t count, int64_t padded, float factor) {
  const Full d;
  const auto lowest = hn::Set(d, -INFINITY);
  const int64_t whole = count / kLanes * kLanes;
  const auto in_range = hn::FirstN(d, static_cast<std::size_t>(count - whole));
  auto highest = lowest;
  for (int64_t j = 0; j < whole; j += kLanes) highest = hn::Max(highest, hn::Load(d, scores + j));
  if (whole < count) highest = hn::Max(highest, hn::IfThenElse(in_range, hn::Load(d, scores + whole), lowest));
  const float top = hn::GetLane(hn::MaxOfLanes(d, highest));
  const auto scale = hn::Set(d, factor);
  const auto shift = hn::Set(d, factor * top);
  auto sum = hn::Zero(d);
  for (int64_t j = 0; j < whole; j += kLanes) {
    const auto p = Exp2(d, hn::MulSub(hn::Load(d, scores + j), scale, shift));
    sum = hn::Add(sum, p);
    hn::Store(p, d, scores + j);
  }
  int64_t j = whole;
  if (whole < count) {
    const auto p = hn::IfThenElseZero(in_range, Exp2(d, hn::MulSub(hn::Load(d, scores + whole), scale, shift)));
    sum = hn::Add(sum, p);
    hn::Store(p, d, scores + whole);
    j += kLanes;
  }
  for (; j < padded; j += kLanes) hn::Store(hn::Zero(d), d, scores + j);
  return {hn::GetLane(hn::SumOfLanes(d, sum)), top};
}

/// The vector in which a window that begins at `first` begins.
HWY_INLINE int64_t FirstVector(int64_t first) { return first / kLanes * kLanes; }

/// SoftmaxRow() for keys first to count - 1 of a window; p[j] = 0 from `from` to first - 1. from <= first.
HWY_INLINE RowSoftmax SoftmaxWindow(float* scores, int64_t from, int64_t first, int64_t count, int64_t padded,
                                    float factor) {
  if (first == 0) [[likely]]
    return SoftmaxRow(scores, count, padded, factor);
  const int64_t vector = FirstVector(first);
  std::fill(scores + vector, scores + first, -INFINITY);
  const RowSoftmax row = SoftmaxRow(scores + vector, count - vector, padded - vector, factor);
  std::fill(scores + std::min(from, vector), scores + first, 0.0F);
  return row;
}

/// Turns scores into probabilities p and dp into ds = scale p (dp - delta), for one row; 0 from count to padded.
inline void BackwardRow(float* p, float* ds, int64_t count, int64_t padded, float scale, float lse, float delta) {
  const Full d;
  const auto factor = hn::Set(d, scale * kLog2E);
  const auto shift = hn::Set(d, lse * kLog2E);
  const auto mean = hn::Set(d, delta);
  const auto scales = hn::Set(d, scale);
  const auto compute = [&](int64_t j, auto& probability, auto& gradient) HWY_ATTR {
    probability = Exp2(d, hn::MulSub(hn::Load(d, p + j), factor, shift));
    gradient = hn::Mul(hn::Mul(probability, scales), hn::Sub(hn::Load(d, ds + j), mean));
  };
  auto probability = hn::Zero(d);
  auto gradient = probability;
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    compute(j, probability, gradient);
    hn::Store(probability, d, p + j);
    hn::Store(gradient, d, ds + j);
  }
  if (j < count) {
    const auto in_range = hn::FirstN(d, static_cast<std::size_t>(count - j));
    compute(j, probability, gradient);
    hn::Store(hn::IfThenElseZero(in_range, probability), d, p + j);
    hn::Store(hn::IfThenElseZero(in_range, gradient), d, ds + j);
    j += kLanes;
  }
  for (; j < padded; j += kLanes) {
    hn::Store(hn::Zero(d), d, p + j);
    hn::Store(hn::Zero(d), d, ds + j);
  }
}

/// BackwardRow() for keys first to count - 1 of a window; 0 from `from` to first - 1. from <= first.
HWY_INLINE void BackwardWindow(float* p, float* ds, int64_t from, int64_t first, int64_t count, int64_t padded,
                               float scale, float lse, float delta) {
  if (first == 0) [[likely]]
    return BackwardRow(p, ds, count, padded, scale, lse, delta);
  const int64_t vector = FirstVector(first);
  BackwardRow(p + vector, ds + vector, count - vector, padded - vector, scale, lse, delta);
  std::fill(p + std::min(from, vector), p + first, 0.0F);
  std::fill(ds + std::min(from, vector), ds + first, 0.0F);
}

/// The dot product of two rows.
inline float DotOf(const ConstArray& a, const ConstArray& b, int64_t size) {
  auto sum = hn::Zero(Full());
  int64_t j = 0;
  for (; j + kLanes <= size; j += kLanes) sum = hn::MulAdd(LoadFrom(Full(), a, j), LoadFrom(Full(), b, j), sum);
  float total = hn::GetLane(hn::SumOfLanes(Full(), sum));
  for (; j < size; ++j) total += a[j] * b[j];
  return total;
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
