#pragma once

#include "kernels/matrix_product.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// How operations are carried out. Handed from the model's owner to every operation.
struct Settings {
  /// false composes every operation from libtorch's own ("fallback"), with libtorch's gradients: the definition that
  /// our kernels are checked against, and what runs on devices and dtypes the kernels do not know.
  bool kernels = true;
  /// Rounding of the factors of matrix products (in inference, of activations alone: weights are what they are stored
  /// as). Sums, and everything that is not a matrix product, stay in fp32.
  kernels::Precision precision = kernels::Precision::f32;
};

/// Whether the kernels serve this tensor: fp32 on the CPU.
inline bool use_kernels(const Settings& settings, const torch::Tensor& tensor) {
  return settings.kernels && tensor.device().is_cpu() && tensor.scalar_type() == torch::kFloat32;
}

}  // namespace incontext::ops
