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
/// `keep` is how `normed` is kept. Only the tokens that residual_reads names, of x [batch, time, width] if not all do,
/// go on in the residual [batch, reads, width].
Normed norm(const Settings& settings, kernels::NormKind kind, const torch::Tensor& x, const torch::Tensor& gamma,
            const torch::Tensor& beta, double epsilon, Keep keep = Keep::f32,
            const kernels::Reads& residual_reads = {});

}  // namespace incontext::ops
