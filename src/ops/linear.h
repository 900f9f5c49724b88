#pragma once

#include "ops/settings.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// y = x·Wᵀ + bias + residual.
/// x [..., in], weight [out, in], bias [out] or undefined, residual [..., out] or undefined; y [..., out].
torch::Tensor linear(const Settings& settings, const torch::Tensor& x, const torch::Tensor& weight,
                     const torch::Tensor& bias = {}, const torch::Tensor& residual = {}, Keep keep = Keep::f32);

}  // namespace incontext::ops
