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
  /// Every row of a result has the same bits whatever else is in the batch: what a ragged step of served sequences
  /// promises. Without it, products of training, which cut a batch into tiles, are used.
  bool batch_invariant = false;
};

/// How an operation keeps its result: in fp32, or, where nothing but products and attention read it, as the factors of
/// products are rounded. In bf16 it takes half the memory and traffic, and its gradient as well.
enum class Keep { f32, for_products };

/// Whether the kernels serve this tensor: on the CPU, fp32, or what an operation kept for products.
inline bool use_kernels(const Settings& settings, const torch::Tensor& tensor) {
  const bool kept = settings.precision == kernels::Precision::bf16 && tensor.scalar_type() == torch::kBFloat16;
  return settings.kernels && tensor.device().is_cpu() && (kept || tensor.scalar_type() == torch::kFloat32);
}

/// In what type an operation that the kernels serve keeps its result.
inline torch::ScalarType kept_type(const Settings& settings, Keep keep) {
  // What a ragged step keeps are a few rows, and its products round what they read themselves.
  const bool bf16 =
      keep == Keep::for_products && settings.precision == kernels::Precision::bf16 && !settings.batch_invariant;
  return bf16 ? torch::kBFloat16 : torch::kFloat32;
}

}  // namespace incontext::ops
