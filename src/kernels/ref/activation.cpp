#include "kernels/activation.h"

#include <cmath>

namespace incontext::kernels::ref {

void gelu_in_place(const GeluInPlace& args) {
  for (int64_t i = 0; i < args.rows * args.width; ++i) {
    const auto x = static_cast<double>(args.x[i]);
    args.x[i] = static_cast<float>(x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))));
  }
}

void silu_and_multiply(const SiluForward& args) {
  for (int64_t i = 0; i < args.rows; ++i) {
    for (int64_t j = 0; j < args.width; ++j) {
      const auto gate = static_cast<double>(args.gate[i * args.stride + j]);
      const auto up = static_cast<double>(args.up[i * args.stride + j]);
      args.out[i * args.out_stride + j] = static_cast<float>(gate / (1 + std::exp(-gate)) * up);
    }
  }
}

void silu_and_multiply_backward(const SiluBackward& args) {
  for (int64_t i = 0; i < args.rows; ++i) {
    for (int64_t j = 0; j < args.width; ++j) {
      const auto gate = static_cast<double>(args.gate[i * args.stride + j]);
      const auto up = static_cast<double>(args.up[i * args.stride + j]);
      const auto dout = static_cast<double>(args.dout[i * args.dout_stride + j]);
      const double s = 1 / (1 + std::exp(-gate));
      args.dgate[i * args.gradient_stride + j] = static_cast<float>(dout * up * s * (1 + gate * (1 - s)));
      args.dup[i * args.gradient_stride + j] = static_cast<float>(dout * gate * s);
    }
  }
}

}  // namespace incontext::kernels::ref
