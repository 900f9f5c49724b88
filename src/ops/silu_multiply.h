#pragma once

#include "ops/settings.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// silu(gate) * up, elementwise; silu(x) = x * sigmoid(x). Shapes equal.
torch::Tensor silu_multiply(const Settings& settings, const torch::Tensor& gate, const torch::Tensor& up);

}  // namespace incontext::ops
