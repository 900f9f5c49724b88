#pragma once

#include <cstdint>

#include "base/threads.h"
#include "kernels/array.h"
#include "kernels/reads.h"

namespace incontext::kernels {

enum class NormKind { layer, rms };

/// y = (x - mean) * rstd * gamma + beta per row (layer norm, Ba et al. 2016), or y = x * rstd * gamma with
/// rstd = 1 / sqrt(mean(x²) + epsilon) (RMS norm, Zhang & Sennrich 2019). All tensors contiguous; y and dy in fp32 or
/// bf16.
struct NormForward {
  NormKind kind = NormKind::layer;
  int64_t rows = 0, width = 0;
  float epsilon = 1e-5F;
  const float* x = nullptr;      // [rows, width]
  const float* gamma = nullptr;  // [width]
  const float* beta = nullptr;   // [width], or null
  Array y = nullptr;             // [rows, width]
  float* mean = nullptr;         // [rows], layer norm only
  float* rstd = nullptr;         // [rows]
};

/// Gradients of the above. With `residual_gradient` the gradient that reaches x past the norm is added:
/// dx = residual_gradient + norm'(dy), where only the rows that residual_reads names have one. dgamma and dbeta are
/// overwritten; dbeta may be null.
struct NormBackward {
  NormKind kind = NormKind::layer;
  int64_t rows = 0, width = 0;
  ConstArray dy = nullptr;                   // [rows, width]
  const float* x = nullptr;                  // [rows, width]
  const float* gamma = nullptr;              // [width]
  const float* mean = nullptr;               // [rows], layer norm only
  const float* rstd = nullptr;               // [rows]
  const float* residual_gradient = nullptr;  // [residual_reads.count(rows), width], or null; may be dx itself
  float* dx = nullptr;                       // [rows, width]
  float* dgamma = nullptr;                   // [width]
  float* dbeta = nullptr;                    // [width], or null
  Reads residual_reads = {};
};

/// Results do not depend on the number of threads.
void norm_forward(const NormForward& args, base::ThreadPool& pool);
void norm_backward(const NormBackward& args, base::ThreadPool& pool);

namespace ref {
void norm_forward(const NormForward& args);
void norm_backward(const NormBackward& args);
}  // namespace ref

}  // namespace incontext::kernels
