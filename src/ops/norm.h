#pragma once

#include "kernels/norm.h"
#include "ops/settings.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// What a block needs of its input: the normalised values for its branch, and the input itself for the sum after it.
/// Taking both from one operation lets the backward pass add their two gradients while it is at it.
struct Normed {
  torch::Tensor normed;    // [..., width]
  torch::Tensor residual;  // [..., width], equal to x, or to those of its tokens that go on
};

/// Layer norm (gamma, beta) or RMS norm (gamma) over the last dimension of x [..., width]; beta may be undefined.
/// `keep` is how `normed` is kept. With residual_every = n only tokens 0, n, 2n, … of x [batch, time, width], time a
/// multiple of n, go on in the residual [batch, time / n, width].
Normed norm(const Settings& settings, kernels::NormKind kind, const torch::Tensor& x, const torch::Tensor& gamma,
            const torch::Tensor& beta, double epsilon, Keep keep = Keep::f32, int64_t residual_every = 1);

}  // namespace incontext::ops
