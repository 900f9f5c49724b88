#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "models/language_model.h"
#include "tensor/torch.h"

namespace incontext::calibrate {

/// What a layer's attention kept of some texts.
struct RecordedLayer {
  torch::Tensor keys;           // f16 [tokens, kv_heads, head_dim], after their rotation
  torch::Tensor values;         // f16 [tokens, kv_heads, head_dim]
  torch::Tensor query_squares;  // f64 [head_dim]: mean over tokens and heads of the squares of queries
};

struct Recording {
  std::vector<RecordedLayer> layers;
  int64_t tokens = 0;
};

/// Reads `tokens` in windows of `context` tokens, each a text of its own, and records keys, values and queries of every
/// layer by a cache that keeps them; the model is used as it is. `progress` is told how many tokens are read, and ends
/// the reading early by false: what was read by then is returned.
Recording record(const models::LanguageModel& model, std::span<const int64_t> tokens, int64_t context,
                 const std::function<bool(int64_t tokens)>& progress = {});

}  // namespace incontext::calibrate
