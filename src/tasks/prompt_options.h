#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/options.h"

namespace incontext::tasks {

/// The ways in which prompts of an evaluation may differ from those of training (Garg et al., 2022, section 4).
inline constexpr std::array kPromptKinds = {"standard",         "scaled_inputs",    "skewed_covariance",
                                            "half_subspace",    "label_noise",      "random_orthant",
                                            "opposite_orthant", "orthogonal_query", "overlapping_query"};

inline std::vector<std::string> prompt_kinds() { return {kPromptKinds.begin(), kPromptKinds.end()}; }

struct PromptOptions {
  std::string kind = "standard";
  double factor = 3;
  double noise = 1;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("kind", kind, "how evaluation prompts differ from the task's own", base::one_of(prompt_kinds()));
    v.field("factor", factor, "scaled_inputs: factor on every x (1/3, 1/2, 2 and 3 in the paper)", base::positive());
    v.field("noise", noise, "label_noise: standard deviation of the noise on labels in context", base::at_least(0));
  }
};

}  // namespace incontext::tasks
