#pragma once

#include <vector>

#include "base/options.h"

namespace incontext::models {

enum class RopeScalingType { none, linear, dynamic, llama3, yarn, longrope };
constexpr auto names_of(RopeScalingType) {
  using enum RopeScalingType;
  return std::to_array<base::EnumName<RopeScalingType>>({{none, "none"},
                                                         {linear, "linear"},
                                                         {dynamic, "dynamic"},
                                                         {llama3, "llama3"},
                                                         {yarn, "yarn"},
                                                         {longrope, "longrope"}});
}

/// How the frequencies of rotary positions are stretched beyond the context a model was first trained with.
/// The names and meanings are those of `rope_scaling` in Hugging Face's config.json.
struct RopeScalingOptions {
  RopeScalingType type = RopeScalingType::none;
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  double beta_fast = 32;
  double beta_slow = 1;
  double attention_factor = 0;
  double mscale = 0;
  double mscale_all_dim = 0;
  bool truncate = true;
  int64_t original_max_positions = 0;
  std::vector<double> short_factor = {};
  std::vector<double> long_factor = {};

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("type", type,
            "none, linear (all frequencies), dynamic (all, by the sequence's length), llama3 and yarn (low ones), "
            "longrope (each its own factor)");
    v.field("factor", factor, "by how much the context grew", base::positive());
    v.field("low_freq_factor", low_freq_factor,
            "llama3: fewer turns than this in the first context are stretched whole", base::positive());
    v.field("high_freq_factor", high_freq_factor, "llama3: more turns than this are left alone", base::positive());
    v.field("beta_fast", beta_fast, "yarn: more turns than this in the first context are left alone", base::positive());
    v.field("beta_slow", beta_slow, "yarn: fewer turns than this are stretched whole", base::positive());
    v.field("attention_factor", attention_factor, "yarn, longrope: factor on cosine and sine; 0: from `factor`",
            base::at_least(0));
    v.field("mscale", mscale, "yarn: with mscale_all_dim, another attention_factor from `factor`; 0: the usual one",
            base::at_least(0));
    v.field("mscale_all_dim", mscale_all_dim, "yarn: see mscale", base::at_least(0));
    v.field("truncate", truncate, "yarn: the bounds of the passage are whole numbers of pairs");
    v.field("original_max_positions", original_max_positions, "tokens of the first context", base::at_least(0));
    v.field("short_factor", short_factor, "longrope: divisors of the frequencies up to the first context");
    v.field("long_factor", long_factor, "longrope: divisors of the frequencies beyond it");
  }
};

/// Rotary positions.
struct RopeOptions {
  double theta = 10000;
  double fraction = 1;
  RopeScalingOptions scaling;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("theta", theta, "base of the rotary frequencies", base::positive());
    v.field("fraction", fraction, "part of each head that rotary positions turn", base::between(0, 1));
    v.group("scaling", scaling, "rotary positions in contexts longer than the first");
  }
};

}  // namespace incontext::models
