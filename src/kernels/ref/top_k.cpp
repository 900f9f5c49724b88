#include "kernels/top_k.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

namespace incontext::kernels::ref {

void top_k(const float* x, int64_t n, int64_t k, int64_t* indices, float* values) {
  std::vector<int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return x[a] > x[b]; });
  for (int64_t i = 0; i < k; ++i) {
    indices[i] = order[static_cast<std::size_t>(i)];
    values[i] = x[indices[i]];
  }
}

}  // namespace incontext::kernels::ref
