#include "kernels/matrix_product.h"

#include <cmath>
#include <cstdint>
#include <numbers>

#include "kernels/storage.h"

namespace incontext::kernels::ref {
namespace {

double tanh_of_gelu(double x) { return std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)); }

double act(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x > 0 ? x : 0;
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + tanh_of_gelu(x));
  }
  return x;
}

double act_derivative(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return 1;
    case Activation::relu:
      return x > 0 ? 1 : 0;
    case Activation::gelu_tanh: {
      const double t = tanh_of_gelu(x);
      const double inner = std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * x * x);
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner;
    }
  }
  return 1;
}

double dot(const MatrixProduct& p, Precision precision, int64_t i, int64_t j) {
  double sum = 0;
  for (int64_t k = 0; k < p.depth; ++k) {
    float a = p.transpose_a ? p.a[k * p.a_stride + i] : p.a[i * p.a_stride + k];
    float b = p.transpose_b ? p.b[j * p.b_stride + k] : p.b[k * p.b_stride + j];
    if (precision == Precision::bf16) {
      a = from_bf16(to_bf16(a));
      b = from_bf16(to_bf16(b));
    }
    sum += static_cast<double>(a) * static_cast<double>(b);
  }
  return sum;
}

}  // namespace

void matrix_product(const MatrixProduct& p, Precision precision) {
  const Epilogue& e = p.epilogue;
  for (int64_t i = 0; p.left_sums != nullptr && i < p.rows; ++i) {
    double sum = 0;
    for (int64_t k = 0; k < p.depth; ++k) sum += static_cast<double>(p.a[k * p.a_stride + i]);
    p.left_sums[i] = static_cast<float>(sum);
  }
  for (int64_t i = 0; i < p.rows; ++i) {
    for (int64_t j = 0; j < p.columns; ++j) {
      const int64_t at = i * p.c_stride + j;
      double value = dot(p, precision, i, j);
      if (p.accumulate) value += static_cast<double>(p.c[at]);
      if (e.bias != nullptr) value += static_cast<double>(e.bias[j]);
      if (e.activation_gradient) {
        const auto x = static_cast<double>(e.preactivation[at]);
        value *= act_derivative(e.activation, x);
        e.preactivation.set(at, static_cast<float>(act(e.activation, x)));
      } else if (e.activation != Activation::none) {
        if (e.preactivation != nullptr) e.preactivation.set(at, static_cast<float>(value));
        value = act(e.activation, value);
      }
      if (e.residual != nullptr) value += static_cast<double>(e.residual[at]);
      p.c.set(at, static_cast<float>(value));
    }
  }
}

}  // namespace incontext::kernels::ref
