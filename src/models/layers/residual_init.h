#pragma once

#include <cmath>

#include "models/decoder_options.h"
#include "models/layers/parameters.h"

namespace incontext::models {

/// GPT-2 (Radford et al. 2019): what is summed into the residual stream starts smaller, by its number of summands.
inline Init residual_init(const DecoderOptions& options) {
  return {Init::Kind::normal, options.init_std / std::sqrt(2.0 * static_cast<double>(options.layers))};
}

}  // namespace incontext::models
