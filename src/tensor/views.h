#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "tensor/torch.h"

// The border between tensors and kernels: what a tensor must be is checked once, here, with a message
// "where: expected ..., got ..."; below it there are pointers and extents only.

namespace incontext::tensor {

/// "float32 [64, 82, 20] on cpu"; "an undefined tensor".
std::string describe(const torch::Tensor& tensor);

/// "float32", "bfloat16", "int64", as PyTorch prints them without the "torch." before.
std::string dtype_name(torch::Dtype dtype);

inline constexpr int64_t kAnySize = -1;

/// The shape must be `expected`, in which kAnySize fits every size.
void check_shape(const torch::Tensor& tensor, std::initializer_list<int64_t> expected, std::string_view where);
void check_dtype(const torch::Tensor& tensor, torch::Dtype expected, std::string_view where);
void check_device(const torch::Tensor& tensor, torch::Device expected, std::string_view where);
/// Row-major without gaps.
void check_contiguous(const torch::Tensor& tensor, std::string_view where);

/// First element of a contiguous tensor of this type on the CPU; anything else is an error. Lives as long as the
/// tensor's storage. As in libtorch, a const tensor is a const handle to elements that may change.
float* f32(const torch::Tensor& tensor, std::string_view where = "f32");
int64_t* i64(const torch::Tensor& tensor, std::string_view where = "i64");

/// All elements of such a tensor, in row-major order.
std::span<float> f32_span(const torch::Tensor& tensor, std::string_view where = "f32_span");
std::span<int64_t> i64_span(const torch::Tensor& tensor, std::string_view where = "i64_span");

}  // namespace incontext::tensor
