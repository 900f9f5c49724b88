#pragma once

#include <cstdint>
#include <vector>

#include "models/decoder_options.h"

// Where the factors of rotary positions depend on the length of the sequence, keys that were cached with one set of
// factors do not fit queries of another. The number of such a set is called a rope epoch here.

namespace incontext::models {

/// Rotary positions of one model: element pair i turns by position * inverse[i], and cosine and sine are multiplied by
/// `scale`.
struct RopeFrequencies {
  std::vector<double> inverse;  // [rotary_dim / 2]
  double scale = 1;
};

/// The frequencies theta^(-2i / rotary_dim), stretched as options.rope.scaling says:
///   linear    divided by `factor` (Chen et al. 2023)
///   llama3    those with long waves divided, short ones kept, a smooth passage between (Llama 3.1)
///   yarn      the same with a linear passage in the number of the pair (Peng et al. 2023)
///   longrope  each divided by its own factor: short_factor in epoch 0, long_factor in epoch 1 (Ding et al. 2024)
///   dynamic   those of a larger theta in epochs beyond max_positions ("dynamic NTK")
RopeFrequencies rope_frequencies(const DecoderOptions& options, int64_t epoch);

/// Whether this model's factors depend on the length at all.
bool has_rope_epochs(const DecoderOptions& options);

/// Which factors hold for every position of a sequence of `tokens` tokens, those to come not counted. Grows with
/// `tokens`:
///   longrope  1 beyond original_max_positions
///   dynamic   `tokens` beyond max_positions: each length has its own
/// and otherwise 0.
int64_t rope_epoch(const DecoderOptions& options, int64_t tokens);

}  // namespace incontext::models
