#pragma once

#include "ops/settings.h"
#include "tensor/torch.h"

namespace incontext::ops {

struct AttentionHeads {
  int64_t heads = 1;
  int64_t kv_heads = 1;  // divides heads
  int64_t head_dim = 0;

  int64_t packed_width() const { return (heads + 2 * kv_heads) * head_dim; }
};

/// Scaled dot-product attention within each sequence, without a cache.
/// qkv [batch, time, (heads + 2 kv_heads) * head_dim]: queries of all heads, then keys, then values.
/// Returns [batch, time, heads * head_dim]; scores are scaled by 1/sqrt(head_dim). With query_every = n, of which time
/// is a multiple, only the queries of tokens 0, n, 2n, … are read: [batch, time / n, heads * head_dim].
torch::Tensor attention(const Settings& settings, const torch::Tensor& qkv, const AttentionHeads& heads, bool causal,
                        Keep keep = Keep::f32, int64_t query_every = 1);

/// The projection that attention() takes: x·Wᵀ + bias with x [batch, time, in], weight [packed_width, in], bias
/// [packed_width] or undefined. With query_every = n the queries of other tokens than 0, n, 2n, … are left undefined,
/// and so may be their gradients.
torch::Tensor project_qkv(const Settings& settings, const torch::Tensor& x, const torch::Tensor& weight,
                          const torch::Tensor& bias, const AttentionHeads& heads, Keep keep = Keep::f32,
                          int64_t query_every = 1);

/// Rotary position embedding (Su et al. 2021) of the queries and keys in a packed qkv; values pass through.
/// Element i of a head turns with element i + head_dim/2 by position * theta^(-2i/head_dim).
/// positions: int64 [time] or [batch * time].
torch::Tensor rotary(const Settings& settings, const torch::Tensor& qkv, const AttentionHeads& heads,
                     const torch::Tensor& positions, double theta);

}  // namespace incontext::ops
