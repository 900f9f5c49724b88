#pragma once

#include "base/error.h"
#include "ops/attention.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// Whether a gradient of this tensor is wanted.
inline bool wants_gradient(const torch::Tensor& tensor) {
  return torch::GradMode::is_enabled() && tensor.requires_grad();
}

/// Fails unless qkv is [batch, time, packed_width] or [tokens, packed_width].
inline void check_packed(const char* where, const torch::Tensor& qkv, const AttentionHeads& heads) {
  base::check((qkv.dim() == 2 || qkv.dim() == 3) && qkv.size(-1) == heads.packed_width(),
              "[{}] expected qkv [batch, time, {}] or [tokens, {}], got [{}]", where, heads.packed_width(),
              heads.packed_width(), fmt::join(qkv.sizes(), ", "));
}

/// qkv as [tokens, all heads, head_dim].
inline torch::Tensor by_head(const torch::Tensor& qkv, const AttentionHeads& heads) {
  return qkv.reshape({-1, heads.heads + 2 * heads.kv_heads, heads.head_dim});
}

}  // namespace incontext::ops
