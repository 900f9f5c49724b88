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
  double scale = 0;           // of scores; 0: 1 / sqrt(head_dim)
  kernels::Reads reads = {};  // the tokens of x [batch, time, width] that the layer returns
  /// Attention has no window, no rotary positions and no norms of heads: a layer that has is not taken.
  bool plain_attention = true;
};

/// Whether transformer_layer() is faster than its operations for x [batch, time, width]: on the CPU in fp32, with
/// gradients of all weights, plain attention, an MLP that is not gated, regular reads, and sequences enough to share
/// out. Depends on shapes, not on the number of threads.
bool takes_transformer_layer(const Settings& settings, const torch::Tensor& x, const LayerWeights& weights,
                             const LayerOptions& options);

/// The layer as one operation, with causal attention -> [batch, reads, width]. Each thread takes some sequences through
/// all of it, forward and back, while they lie in its cache, where operation by operation the whole batch goes through
/// each. The same bits forward as from norm(), project_qkv(), attention(), linear() and mlp(); gradients of weights are
/// summed over groups of sequences, then over the groups. Where the kernels do not know the layer (another device,
/// say) it is composed of those operations.
torch::Tensor transformer_layer(const Settings& settings, const torch::Tensor& x, const LayerWeights& weights,
                                const LayerOptions& options);

}  // namespace incontext::ops
