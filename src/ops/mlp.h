#pragma once

#include "ops/settings.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// Weights of an MLP. up [hidden, width], down [width, hidden]; biases may be undefined.
/// With `gate` [hidden, width] defined the MLP is gated (SwiGLU, Shazeer 2020).
struct MlpWeights {
  torch::Tensor up, up_bias, down, down_bias, gate, gate_bias;
};

/// residual + down·act(up·x + up_bias) + down_bias, or residual + down·(silu(gate·x + gate_bias) * (up·x + up_bias)) +
/// down_bias when gated. x and residual [..., width]. `activation` is not used when gated. GELU is the tanh form
/// (Hendrycks & Gimpel 2016). The kernel path keeps one [rows, hidden] buffer, which the backward pass turns into the
/// hidden values in place.
torch::Tensor mlp(const Settings& settings, const torch::Tensor& x, const MlpWeights& weights,
                  kernels::Activation activation, const torch::Tensor& residual);

}  // namespace incontext::ops
