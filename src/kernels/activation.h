#pragma once

#include <cstdint>

#include "base/threads.h"

namespace incontext::kernels {

/// The gated activation of SwiGLU (Shazeer 2020): out = silu(gate) * up with silu(x) = x / (1 + e^-x), and its gradient
///   dup = dout * silu(gate),   dgate = dout * up * silu'(gate).
/// gate and up may be the two halves of one packed projection: rows lie `stride` floats apart.
struct SiluForward {
  int64_t rows = 0, width = 0;
  const float* gate = nullptr;
  const float* up = nullptr;
  int64_t stride = 0;  // between rows of gate, and of up
  float* out = nullptr;
  int64_t out_stride = 0;
};

struct SiluBackward {
  int64_t rows = 0, width = 0;
  const float* gate = nullptr;
  const float* up = nullptr;
  int64_t stride = 0;
  const float* dout = nullptr;
  int64_t dout_stride = 0;
  float* dgate = nullptr;  // may be gate itself
  float* dup = nullptr;    // may be up itself
  int64_t gradient_stride = 0;
};

void silu_and_multiply(const SiluForward& args, base::ThreadPool& pool);
void silu_and_multiply_backward(const SiluBackward& args, base::ThreadPool& pool);

namespace ref {
void silu_and_multiply(const SiluForward& args);
void silu_and_multiply_backward(const SiluBackward& args);
}  // namespace ref

}  // namespace incontext::kernels
