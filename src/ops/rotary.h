#pragma once

#include <span>

#include "ops/attention.h"
#include "ops/settings.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// Cosine and sine of the angles of rotary positions, fp32 [rows, rotary_dim / 2], which layers share.
struct RotaryTables {
  torch::Tensor cosine, sine;

  int64_t rows() const { return cosine.size(0); }
  int64_t rotary_dim() const { return 2 * cosine.size(1); }
};

/// Tables of positions first to first + count - 1: scale * cos and scale * sin of position * inverse_frequencies[i].
RotaryTables rotary_tables(std::span<const double> inverse_frequencies, double scale, int64_t first, int64_t count,
                           torch::Device device = torch::kCPU);

/// Rotary position embedding (Su et al. 2021) of the queries and keys in a packed fp32 qkv; values pass through.
/// Element i of a head turns with element i + rotary_dim/2; elements from rotary_dim on stay as they are.
/// qkv is [batch, time, packed_width] with tables of `time` rows, which all sequences share, or [tokens, packed_width].
/// In both forms tables may also have a row for each token. Where no gradient is wanted qkv itself is turned and
/// returned.
torch::Tensor rotary(const Settings& settings, const torch::Tensor& qkv, const AttentionHeads& heads,
                     const RotaryTables& tables);

}  // namespace incontext::ops
