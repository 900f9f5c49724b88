#pragma once

#include <cstdint>

namespace incontext::kernels {

/// Over one row of n >= 1 numbers, such as the logits of a vocabulary, of which some but not all may be -infinity:
///   softmax      out[i] = e^x[i] / sum_j e^x[j]; what is below 2^-125 times the largest becomes 0
///   log_softmax  out[i] = x[i] - log_sum_exp(x)
/// Sums are taken in double. out may be x.
void softmax(const float* x, int64_t n, float* out);
void log_softmax(const float* x, int64_t n, float* out);
double log_sum_exp(const float* x, int64_t n);

namespace ref {
void softmax(const float* x, int64_t n, float* out);
void log_softmax(const float* x, int64_t n, float* out);
double log_sum_exp(const float* x, int64_t n);
}  // namespace ref

}  // namespace incontext::kernels
