#pragma once

#include "models/decoder_options.h"

namespace incontext::testing {

/// A Llama of two layers whose text is as good as noise.
inline models::DecoderOptions small_llama(int64_t vocabulary, int64_t context) {
  models::DecoderOptions options;
  options.width = 32;
  options.layers = 2;
  options.heads = 4;
  options.kv_heads = 2;
  options.norm = "rms";
  options.position = "rotary";
  options.max_positions = context;
  options.mlp = "gated";
  options.mlp_width = 48;
  options.bias = false;
  options.vocabulary = vocabulary;
  options.init_std = 0.3;
  return options;
}

}  // namespace incontext::testing
