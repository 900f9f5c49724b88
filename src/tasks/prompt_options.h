#pragma once

#include "base/options.h"

namespace incontext::tasks {

/// The ways in which prompts of an evaluation may differ from those of training (Garg et al., 2022, section 4).
enum class PromptKind {
  standard,
  scaled_inputs,
  skewed_covariance,
  half_subspace,
  label_noise,
  random_orthant,
  opposite_orthant,
  orthogonal_query,
  overlapping_query,
};
constexpr auto names_of(PromptKind) {
  using enum PromptKind;
  return std::to_array<base::EnumName<PromptKind>>({
      {standard, "standard"},
      {scaled_inputs, "scaled_inputs"},
      {skewed_covariance, "skewed_covariance"},
      {half_subspace, "half_subspace"},
      {label_noise, "label_noise"},
      {random_orthant, "random_orthant"},
      {opposite_orthant, "opposite_orthant"},
      {orthogonal_query, "orthogonal_query"},
      {overlapping_query, "overlapping_query"},
  });
}

struct PromptOptions {
  PromptKind kind = PromptKind::standard;
  double factor = 3;
  double noise = 1;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("kind", kind, "how evaluation prompts differ from the task's own");
    v.field("factor", factor, "scaled_inputs: factor on every x (1/3, 1/2, 2 and 3 in the paper)", base::positive());
    v.field("noise", noise, "label_noise: standard deviation of the noise on labels in context", base::at_least(0));
  }
};

}  // namespace incontext::tasks
