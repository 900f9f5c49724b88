#pragma once

#include "kernels/reads.h"
#include "ops/attention.h"
#include "ops/settings.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// RMS norm of every query head and of every key head in a packed fp32 qkv, [batch, time, packed_width] or
/// [tokens, packed_width]; values pass through. query_gamma and key_gamma [head_dim]. Of [batch, time, packed_width]
/// the queries of tokens that are not read may stay as they are, as project_qkv() leaves them. Where no gradient is
/// wanted qkv itself is normalised and returned.
torch::Tensor norm_heads(const Settings& settings, const torch::Tensor& qkv, const AttentionHeads& heads,
                         const torch::Tensor& query_gamma, const torch::Tensor& key_gamma, double epsilon,
                         const kernels::Reads& reads = {});

}  // namespace incontext::ops
