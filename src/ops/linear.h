#pragma once

#include <span>

#include "ops/settings.h"
#include "ops/weight.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// y = x·Wᵀ + bias (+ the weight's adapter) + residual, with gradients of whatever wants one.
/// x [..., in], weight [out, in], residual [..., out] or undefined; y [..., out]. With settings.batch_invariant a row
/// of y has the same bits whatever other rows are computed with it.
torch::Tensor linear(const Settings& settings, const torch::Tensor& x, const Weight& weight,
                     const torch::Tensor& residual = {}, Keep keep = Keep::f32);

/// The same for several weights of one x, side by side: [..., out_1 + out_2 + …].
torch::Tensor linear_side_by_side(const Settings& settings, const torch::Tensor& x, std::span<const Weight> weights,
                                  Keep keep = Keep::f32);

}  // namespace incontext::ops
