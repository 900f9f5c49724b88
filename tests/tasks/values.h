#pragma once

#include <span>

#include "tensor/torch.h"

namespace incontext::tasks {

/// The elements of a contiguous fp32 tensor, which lives longer.
inline std::span<const float> values(const torch::Tensor& tensor) {
  return {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

}  // namespace incontext::tasks
