#include "kernels/softmax.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kernels/cpu/dispatch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/softmax.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

constexpr int64_t kBlock = 256;  // exponentials that are added up while they are in the first-level cache

float Highest(const float* x, int64_t n) {
  const Full d;
  auto highest = hn::Set(d, -INFINITY);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) highest = hn::Max(highest, hn::LoadU(d, x + i));
  float top = hn::GetLane(hn::MaxOfLanes(d, highest));
  for (; i < n; ++i) top = std::max(top, x[i]);
  return top;
}

/// out[i] = e^(x[i] - top).
void Exponentials(const float* x, int64_t n, float top, float* out) {
  ForEachVector(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto exponent = hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, top)), hn::Set(d, kLog2E));
    hn::StoreU(hn::IfThenElseZero(hn::Ge(exponent, hn::Set(d, -125.0F)), Exp2(d, exponent)), d, out + i);
  });
}

double SumInDouble(const float* x, int64_t n) {
  double sums[4] = {};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (int64_t j = 0; j < 4; ++j) sums[j] += static_cast<double>(x[i + j]);
  }
  for (; i < n; ++i) sums[0] += static_cast<double>(x[i]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/// sum_i e^(x[i] - top); the exponentials go to out, when it is not null.
double SumExponentials(const float* x, int64_t n, float top, float* out) {
  float block[kBlock];
  double sum = 0;
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t size = std::min(kBlock, n - i);
    float* to = out == nullptr ? block : out + i;
    Exponentials(x + i, size, top, to);
    sum += SumInDouble(to, size);
  }
  return sum;
}

void SoftmaxTarget(const float* x, int64_t n, float* out) {
  const double sum = SumExponentials(x, n, Highest(x, n), out);
  const auto factor = static_cast<float>(1 / sum);
  ForEachVector(n, [&](auto d, int64_t i)
                       HWY_ATTR { hn::StoreU(hn::Mul(hn::LoadU(d, out + i), hn::Set(d, factor)), d, out + i); });
}

double LogSumExpTarget(const float* x, int64_t n) {
  const float top = Highest(x, n);
  return static_cast<double>(top) + std::log(SumExponentials(x, n, top, nullptr));
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(SoftmaxTarget);
HWY_EXPORT(LogSumExpTarget);

void softmax(const float* x, int64_t n, float* out) {
  base::check(n >= 1, "[softmax] expected at least 1 number, got {}", n);
  apply_environment();
  HWY_DYNAMIC_DISPATCH(SoftmaxTarget)(x, n, out);
}

double log_sum_exp(const float* x, int64_t n) {
  base::check(n >= 1, "[log_sum_exp] expected at least 1 number, got {}", n);
  apply_environment();
  return HWY_DYNAMIC_DISPATCH(LogSumExpTarget)(x, n);
}

void log_softmax(const float* x, int64_t n, float* out) {
  const double total = log_sum_exp(x, n);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(static_cast<double>(x[i]) - total);
}

}  // namespace incontext::kernels
#endif
