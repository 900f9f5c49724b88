#include "kernels/top_k.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "kernels/cpu/dispatch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/top_k.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// The first i >= first with x[i] > bound, or n.
int64_t FindAbove(const float* x, int64_t first, int64_t n, float bound) {
  const Full d;
  const auto bounds = hn::Set(d, bound);
  int64_t i = first;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    const auto a = hn::Max(hn::LoadU(d, x + i), hn::LoadU(d, x + i + kLanes));
    const auto b = hn::Max(hn::LoadU(d, x + i + 2 * kLanes), hn::LoadU(d, x + i + 3 * kLanes));
    if (!hn::AllFalse(d, hn::Gt(hn::Max(a, b), bounds))) break;
  }
  while (i < n && !(x[i] > bound)) ++i;
  return i;
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(FindAbove);

void top_k(const float* x, int64_t n, int64_t k, int64_t* indices, float* values) {
  base::check(k >= 0 && k <= n, "[top_k] expected k between 0 and {}, got {}", n, k);
  if (k == 0) return;
  apply_environment();
  const auto find_above = HWY_DYNAMIC_DISPATCH(FindAbove);
  using Entry = std::pair<float, int64_t>;
  const auto before = [](const Entry& a, const Entry& b) {
    return a.first > b.first || (a.first == b.first && a.second < b.second);
  };
  std::vector<Entry> best;  // a heap with the last of the k in front
  best.reserve(static_cast<std::size_t>(k));
  for (int64_t i = 0; i < k; ++i) best.emplace_back(x[i], i);
  std::make_heap(best.begin(), best.end(), before);
  // Indices rise, so that an equal number never displaces one that is in.
  for (int64_t i = find_above(x, k, n, best.front().first); i < n; i = find_above(x, i + 1, n, best.front().first)) {
    std::pop_heap(best.begin(), best.end(), before);
    best.back() = {x[i], i};
    std::push_heap(best.begin(), best.end(), before);
  }
  std::sort_heap(best.begin(), best.end(), before);
  for (const Entry& entry : best) {
    *values++ = entry.first;
    *indices++ = entry.second;
  }
}

}  // namespace incontext::kernels
#endif
