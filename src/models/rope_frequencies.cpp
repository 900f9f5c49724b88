#include "models/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace incontext::models {
namespace {

// Number of the pair that turns `turns` times within the first context.
double pair_with_turns(double turns, const DecoderOptions& options) {
  const auto dim = static_cast<double>(options.rotary_dim());
  const auto context = static_cast<double>(options.rope.scaling.original_max_positions);
  return dim * std::log(context / (turns * 2 * std::numbers::pi)) / (2 * std::log(options.rope.theta));
}

void stretch_llama3(const RopeScalingOptions& scaling, std::vector<double>& inverse) {
  const auto context = static_cast<double>(scaling.original_max_positions);
  for (double& frequency : inverse) {
    const double turns = context * frequency / (2 * std::numbers::pi);
    const double kept =
        std::clamp((turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor), 0.0, 1.0);
    frequency = (1 - kept) * frequency / scaling.factor + kept * frequency;
  }
}

void stretch_yarn(const DecoderOptions& options, std::vector<double>& inverse) {
  const RopeScalingOptions& scaling = options.rope.scaling;
  const auto last = static_cast<double>(options.rotary_dim() - 1);
  double low = pair_with_turns(scaling.beta_fast, options);
  double high = pair_with_turns(scaling.beta_slow, options);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, last);
  if (low == high) high += 0.001;  // as the reference code does, against division by zero
  for (size_t i = 0; i < inverse.size(); ++i) {
    const double stretched = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    inverse[i] = stretched * inverse[i] / scaling.factor + (1 - stretched) * inverse[i];
  }
}

// How much larger scores become where the context has grown `factor` times (Peng et al. 2023).
double yarn_scale(double factor, double mscale) { return factor > 1 ? 0.1 * mscale * std::log(factor) + 1 : 1; }

double base_of(const DecoderOptions& options, int64_t epoch) {
  if (options.rope.scaling.type != RopeScalingType::dynamic || epoch == 0) return options.rope.theta;
  const double factor = options.rope.scaling.factor;
  const auto dim = static_cast<double>(options.rotary_dim());
  const double grown = static_cast<double>(epoch) / static_cast<double>(options.max_positions);
  return options.rope.theta * std::pow(factor * grown - (factor - 1), dim / (dim - 2));
}

}  // namespace

bool has_rope_epochs(const DecoderOptions& options) {
  return options.rope.scaling.type == RopeScalingType::longrope ||
         options.rope.scaling.type == RopeScalingType::dynamic;
}

int64_t rope_epoch(const DecoderOptions& options, int64_t tokens) {
  const RopeScalingOptions& scaling = options.rope.scaling;
  if (scaling.type == RopeScalingType::longrope) return tokens > scaling.original_max_positions ? 1 : 0;
  if (scaling.type == RopeScalingType::dynamic) return tokens > options.max_positions ? tokens : 0;
  return 0;
}

RopeFrequencies rope_frequencies(const DecoderOptions& options, int64_t epoch) {
  const RopeScalingOptions& scaling = options.rope.scaling;
  RopeFrequencies result;
  const int64_t dim = options.rotary_dim();
  const double base = base_of(options, epoch);
  for (int64_t i = 0; i < dim / 2; ++i) {
    result.inverse.push_back(std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(dim)));
  }
  if (scaling.type == RopeScalingType::linear) {
    for (double& frequency : result.inverse) frequency /= scaling.factor;
  } else if (scaling.type == RopeScalingType::llama3) {
    stretch_llama3(scaling, result.inverse);
  } else if (scaling.type == RopeScalingType::yarn) {
    stretch_yarn(options, result.inverse);
    const bool both = scaling.mscale > 0 && scaling.mscale_all_dim > 0;
    const double grown =
        both ? yarn_scale(scaling.factor, scaling.mscale) / yarn_scale(scaling.factor, scaling.mscale_all_dim)
             : yarn_scale(scaling.factor, 1);
    result.scale = scaling.attention_factor > 0 ? scaling.attention_factor : grown;
  } else if (scaling.type == RopeScalingType::longrope) {
    const auto& factors = epoch > 0 ? scaling.long_factor : scaling.short_factor;
    for (size_t i = 0; i < result.inverse.size(); ++i) result.inverse[i] /= factors[i];
    const double grown =
        scaling.factor > 1
            ? std::sqrt(1 + std::log(scaling.factor) / std::log(static_cast<double>(scaling.original_max_positions)))
            : 1;
    result.scale = scaling.attention_factor > 0 ? scaling.attention_factor : grown;
  }
  return result;
}

}  // namespace incontext::models
