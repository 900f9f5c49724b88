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

/// GELU in its tanh form (Hendrycks & Gimpel 2016), in place: x / 2 * (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))). An
/// element's bits depend on nothing but its value.
struct GeluInPlace {
  int64_t rows = 0, width = 0;
  float* x = nullptr;  // [rows, width], contiguous
};

void gelu_in_place(const GeluInPlace& args, base::ThreadPool& pool);
void silu_and_multiply(const SiluForward& args, base::ThreadPool& pool);
void silu_and_multiply_backward(const SiluBackward& args, base::ThreadPool& pool);

namespace ref {
void gelu_in_place(const GeluInPlace& args);
void silu_and_multiply(const SiluForward& args);
void silu_and_multiply_backward(const SiluBackward& args);
}  // namespace ref

}  // namespace incontext::kernels
