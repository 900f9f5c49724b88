#pragma once

#include "models/decoder_options.h"

namespace incontext::testing {

/// A Llama of two layers whose text is as good as noise.
inline models::DecoderOptions small_llama(int64_t vocabulary, int64_t context) {
  models::DecoderOptions options;
  options.width = 32;
  options.layers = 2;
  options.attention.heads = 4;
  options.attention.kv_heads = 2;
  options.norm.type = models::NormType::rms;
  options.position = models::PositionType::rotary;
  options.max_positions = context;
  options.mlp.type = models::MlpType::gated;
  options.mlp.width = 48;
  options.bias = false;
  options.tokens.vocabulary = vocabulary;
  options.init_std = 0.3;
  return options;
}

}  // namespace incontext::testing
