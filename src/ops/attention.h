#pragma once

#include "kernels/reads.h"
#include "ops/settings.h"
#include "tensor/torch.h"

namespace incontext::ops {

struct AttentionHeads {
  int64_t heads = 1;
  int64_t kv_heads = 1;  // divides heads
  int64_t head_dim = 0;

  int64_t packed_width() const { return (heads + 2 * kv_heads) * head_dim; }
};

struct AttentionOptions {
  bool causal = true;
  int64_t window = 0;         // a token attends to itself and window - 1 tokens before it; 0: all; causal alone
  double scale = 0;           // of scores; 0: 1 / sqrt(head_dim)
  kernels::Reads reads = {};  // the tokens whose queries are read
  Keep keep = Keep::f32;
};

/// Scaled dot-product attention within each sequence, without a cache.
/// qkv [batch, time, (heads + 2 kv_heads) * head_dim]: queries of all heads, then keys, then values.
/// Returns [batch, reads, heads * head_dim]. Where reads are regular for `time`, queries of other tokens are not looked
/// at, and their gradients are left undefined; where they are not, all queries are computed and those read are
/// returned.
torch::Tensor attention(const Settings& settings, const torch::Tensor& qkv, const AttentionHeads& heads,
                        const AttentionOptions& options = {});

/// The projection that attention() takes: x·Wᵀ + bias with x [batch, time, in], weight [packed_width, in], bias
/// [packed_width] or undefined. Where reads are regular for `time`, queries of other tokens are left undefined, and so
/// may be their gradients, as attention() leaves them.
torch::Tensor project_qkv(const Settings& settings, const torch::Tensor& x, const torch::Tensor& weight,
                          const torch::Tensor& bias, const AttentionHeads& heads, Keep keep = Keep::f32,
                          const kernels::Reads& reads = {});

}  // namespace incontext::ops
