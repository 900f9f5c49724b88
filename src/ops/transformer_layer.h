#pragma once

#include "kernels/matrix_product.h"
#include "kernels/norm.h"
#include "ops/attention.h"
#include "ops/settings.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// A pre-norm layer: middle = x + out·attention(qkv·norm(x)), y = middle + mlp(norm(middle)). Biases and betas may be
/// undefined.
struct LayerWeights {
  torch::Tensor attention_gamma, attention_beta;  // [width]
  torch::Tensor qkv, qkv_bias;                    // [packed_width, width]
  torch::Tensor out, out_bias;                    // [width, heads * head_dim]
  torch::Tensor mlp_gamma, mlp_beta;              // [width]
  torch::Tensor up, up_bias;                      // [hidden, width]
  torch::Tensor down, down_bias;                  // [width, hidden]
};

struct LayerOptions {
  kernels::NormKind norm = kernels::NormKind::layer;
  double epsilon = 1e-5;
  AttentionHeads heads;
  kernels::Activation activation = kernels::Activation::gelu_tanh;
  /// Of x [batch, time, width] the layer returns tokens 0, n, 2n, … alone; time is a multiple of n.
  int64_t read_every = 1;
};

/// Whether transformer_layer() carries out this layer for x [batch, time, width]: on the CPU in fp32, with gradients
/// of all weights, a causal mask, an MLP that is not gated, and sequences enough to share out. Depends on shapes, not
/// on the number of threads.
bool takes_transformer_layer(const Settings& settings, const torch::Tensor& x, const LayerWeights& weights,
                             const LayerOptions& options);

/// The layer as one operation -> [batch, time / read_every, width]. Each thread takes some sequences through all of
/// it, forward and back, while they lie in its cache, where operation by operation the whole batch goes through each.
/// The same bits forward as from norm(), project_qkv(), attention(), linear() and mlp(); gradients of weights are
/// summed over groups of sequences, then over the groups.
torch::Tensor transformer_layer(const Settings& settings, const torch::Tensor& x, const LayerWeights& weights,
                                const LayerOptions& options);

}  // namespace incontext::ops
