#pragma once

#include "kernels/matrix_product.h"
#include "ops/optional_tensor.h"
#include "tensor/torch.h"

// The three products of a linear layer y = x·Wᵀ on tensors of rows, shared by the operations that contain one.
// CPU tensors whose rows are contiguous but may lie apart; x [rows, in] and dy [rows, out] in fp32 or bf16, weight
// [out, in] in fp32.

namespace incontext::ops::product {

/// Where the rows of a matrix are.
struct Rows {
  kernels::Array data = nullptr;
  int64_t stride = 0;

  Rows skip(int64_t rows) const { return {data + rows * stride, stride}; }
};

/// The products themselves, of `rows` rows that lie anywhere; `dweight` and, unless it is null, `dbias` are as large as
/// the weight and its bias.
kernels::MatrixProduct forward_product(int64_t rows, const Rows& x, const torch::Tensor& weight,
                                       const kernels::Epilogue& epilogue, const Rows& y);
kernels::MatrixProduct input_product(int64_t rows, const Rows& dy, const torch::Tensor& weight,
                                     const kernels::Epilogue& epilogue, const Rows& dx);
kernels::MatrixProduct weight_product(int64_t rows, const Rows& dy, const Rows& x, const torch::Tensor& weight,
                                      float* dweight, float* dbias);

/// y [rows, out] = x·Wᵀ with the epilogue applied.
void forward(const torch::Tensor& x, const torch::Tensor& weight, const kernels::Epilogue& epilogue,
             const torch::Tensor& y, kernels::Precision precision);

/// dx [rows, in] = dy·W with the epilogue applied, kept in `type`.
torch::Tensor input_gradient(const torch::Tensor& dy, const torch::Tensor& weight, const kernels::Epilogue& epilogue,
                             kernels::Precision precision, torch::ScalarType type = torch::kFloat32);

/// dx [rows, in] = dy·W in fp32 for a frozen W [out, in] of any storage. Some rows of W at a time are widened, so that
/// no copy of it is made.
torch::Tensor frozen_input_gradient(const torch::Tensor& dy, const torch::Tensor& weight, kernels::Precision precision);

/// The same as input_gradient, into `dx`.
void write_input_gradient(const torch::Tensor& dy, const torch::Tensor& weight, const kernels::Epilogue& epilogue,
                          const torch::Tensor& dx, kernels::Precision precision);

/// y = act(x·W1ᵀ + …)·W2ᵀ with both epilogues. What lies between is not kept; its rows are `stride` apart, as those of
/// the preactivation are.
void forward_chain(const torch::Tensor& x, const torch::Tensor& first_weight, const kernels::Epilogue& first,
                   int64_t stride, const torch::Tensor& second_weight, const kernels::Epilogue& second,
                   const torch::Tensor& y, kernels::Precision precision);

/// An uninitialised [rows, columns] whose rows a product reads well: not a multiple of 1 KiB apart, where they would
/// share few sets of the first-level cache.
torch::Tensor empty_rows(int64_t rows, int64_t columns, const torch::TensorOptions& options);

/// Between rows of a tensor [rows, columns].
int64_t row_stride(const torch::Tensor& rows);

/// dbetween = dy·W2 with the epilogue applied, and dx = dbetween·W1.
void input_gradient_chain(const torch::Tensor& dy, const torch::Tensor& second_weight,
                          const kernels::Epilogue& epilogue, const torch::Tensor& dbetween,
                          const torch::Tensor& first_weight, const torch::Tensor& dx, kernels::Precision precision);

/// dW [out, in] = dyᵀ·x, and, where `dbias` is not null, that of the bias, as bias_gradient(dy).
torch::Tensor weight_gradient(const torch::Tensor& dy, const torch::Tensor& x, kernels::Precision precision,
                              torch::Tensor* dbias = nullptr);

/// The same into `dweight` and, unless it is undefined, `dbias`.
void write_weight_gradient(const torch::Tensor& dy, const torch::Tensor& x, const torch::Tensor& dweight,
                           const torch::Tensor& dbias, kernels::Precision precision);

/// db [out] = sum over rows of dy.
torch::Tensor bias_gradient(const torch::Tensor& dy);

/// Views [..., width] as [rows, width], contiguous.
torch::Tensor as_rows(const torch::Tensor& x);

/// Where the numbers of a tensor of fp32 or bf16 are.
kernels::Array array_of(const torch::Tensor& tensor);

/// Pointer to a tensor's data, or null when there is none.
const float* data_or_null(const OptionalTensor& tensor);

}  // namespace incontext::ops::product
