#pragma once

#include <cstdint>
#include <vector>

#include "models/decoder_options.h"

namespace incontext::models {

/// Rotary positions of one model: element pair i turns by position * inverse[i], and cosine and sine are multiplied by
/// `scale`.
struct RopeFrequencies {
  std::vector<double> inverse;  // [rotary_dim / 2]
  double scale = 1;
};

/// The frequencies theta^(-2i / rotary_dim), stretched as options.rope_scaling says:
///   linear    divided by `factor` (Chen et al. 2023)
///   llama3    those with long waves divided, short ones kept, a smooth passage between (Llama 3.1)
///   yarn      the same with a linear passage in the number of the pair (Peng et al. 2023)
///   longrope  each divided by its own factor: short_factor while `tokens` <= original_max_positions, then long_factor
///             (Ding et al. 2024)
/// `tokens` is the length of the sequence; only longrope looks at it.
RopeFrequencies rope_frequencies(const DecoderOptions& options, int64_t tokens);

}  // namespace incontext::models
