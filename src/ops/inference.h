#pragma once

#include <span>

#include "ops/settings.h"
#include "tensor/torch.h"

// What models call without gradients: products that read weights where they lie (a mapped file, in bf16, f16 or f32)
// and give each row the same bits whatever else is in the batch.

namespace incontext::ops {

/// x·Wᵀ + bias for several weights of one x, side by side: [rows, out_1 + out_2 + …].
/// x [rows, in] fp32, weights [out_i, in] with contiguous rows, biases fp32 [out_i] or undefined (or none at all).
torch::Tensor project(const Settings& settings, const torch::Tensor& x, std::span<const torch::Tensor> weights,
                      std::span<const torch::Tensor> biases = {});

/// x·Wᵀ + bias + residual; residual [rows, out] or undefined.
torch::Tensor project(const Settings& settings, const torch::Tensor& x, const torch::Tensor& weight,
                      const torch::Tensor& bias, const torch::Tensor& residual);

/// silu(gate) * up of x [rows, 2 * hidden], gate in the first half of each row: [rows, hidden].
torch::Tensor gated(const Settings& settings, const torch::Tensor& x);

/// ReLU or tanh-GELU of x [rows, hidden] fp32, in place where the kernels serve it; returns the result.
torch::Tensor activate(const Settings& settings, torch::Tensor x, kernels::Activation activation);

/// Rows `ids` (int64 [n]) of a table [rows, width] of any storage, as fp32 [n, width]. An id out of range is an Error.
torch::Tensor look_up(const torch::Tensor& table, const torch::Tensor& ids);

}  // namespace incontext::ops
