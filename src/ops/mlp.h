#pragma once

#include "kernels/matrix_product.h"
#include "ops/settings.h"
#include "ops/weight.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// Weights of an MLP: up [hidden, width], down [width, hidden]. With `gate` [hidden, width] defined the MLP is gated
/// (SwiGLU, Shazeer 2020).
struct MlpWeights {
  Weight up, down, gate = {};
};

/// residual + down·act(up·x), or residual + down·(silu(gate·x) * (up·x)) when gated, biases included. x and residual
/// [..., width]. `activation` is not used when gated. GELU is the tanh form (Hendrycks & Gimpel 2016). Where all
/// weights are plain the kernel path of training keeps one [rows, hidden] buffer, which the backward pass turns into
/// the hidden values in place.
torch::Tensor mlp(const Settings& settings, const torch::Tensor& x, const MlpWeights& weights,
                  kernels::Activation activation, const torch::Tensor& residual);

}  // namespace incontext::ops
