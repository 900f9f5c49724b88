#include "kernels/softmax.h"

#include <algorithm>
#include <cmath>

namespace incontext::kernels::ref {

double log_sum_exp(const float* x, int64_t n) {
  const auto top = static_cast<double>(*std::max_element(x, x + n));
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(x[i]) - top);
  return top + std::log(sum);
}

void softmax(const float* x, int64_t n, float* out) {
  const double total = log_sum_exp(x, n);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(std::exp(static_cast<double>(x[i]) - total));
}

void log_softmax(const float* x, int64_t n, float* out) {
  const double total = log_sum_exp(x, n);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(static_cast<double>(x[i]) - total);
}

}  // namespace incontext::kernels::ref
