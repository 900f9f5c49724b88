#pragma once

#include <cstdint>

namespace incontext::kernels {

/// The k largest of n numbers, largest first, and where they are; of equal ones the first. 0 <= k <= n; none is NaN.
void top_k(const float* x, int64_t n, int64_t k, int64_t* indices, float* values);

namespace ref {
void top_k(const float* x, int64_t n, int64_t k, int64_t* indices, float* values);
}  // namespace ref

}  // namespace incontext::kernels
