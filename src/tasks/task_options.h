#pragma once

#include <cstdint>
#include <string>

#include "base/options.h"
#include "tasks/text_options.h"

namespace incontext::tasks {

/// What a model can be trained on: a function class, or to predict the next token of a text (packed_text.h).
enum class TaskName {
  linear_regression,
  noisy_linear_regression,
  sparse_linear_regression,
  quadratic_regression,
  decision_tree,
  relu_network,
  text,
};
constexpr auto names_of(TaskName) {
  using enum TaskName;
  return std::to_array<base::EnumName<TaskName>>({
      {linear_regression, "linear_regression"},
      {noisy_linear_regression, "noisy_linear_regression"},
      {sparse_linear_regression, "sparse_linear_regression"},
      {quadratic_regression, "quadratic_regression"},
      {decision_tree, "decision_tree"},
      {relu_network, "relu_network"},
      {text, "text"},
  });
}

/// A distribution over prompts x_1, f(x_1), x_2, f(x_2), …: a class of functions f and a distribution of inputs x.
/// Garg et al., "What Can Transformers Learn In-Context?", NeurIPS 2022, sections 3 and 5.
struct TaskOptions {
  TaskName name = TaskName::linear_regression;
  int64_t dims = 20;
  double noise = 1;
  bool renormalise = false;
  int64_t nonzeros = 3;
  int64_t depth = 4;
  int64_t hidden = 100;
  double input_scale = 1;
  double condition_number = 1;
  uint64_t rotation_seed = 0;
  TextOptions text;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("name", name, "function class, or text");
    v.field("dims", dims, "dimensions of an input", base::between(1, 4096));
    v.field("noise", noise, "noisy_linear_regression: standard deviation of the label noise", base::at_least(0));
    v.field("renormalise", renormalise, "noisy_linear_regression: scale noisy labels to the variance of clean ones");
    v.field("nonzeros", nonzeros, "sparse_linear_regression: weights that are not zero", base::at_least(1));
    v.field("depth", depth, "decision_tree: tests from root to leaf", base::between(0, 16));
    v.field("hidden", hidden, "relu_network: hidden units", base::at_least(1));
    v.field("input_scale", input_scale, "factor on all inputs", base::positive());
    v.field("condition_number", condition_number,
            "of the inputs' covariance: its eigenvalues fall geometrically from 1 to 1/condition_number",
            base::at_least(1));
    v.field("rotation_seed", rotation_seed, "names the eigenbasis of the inputs' covariance; part of the task");
    v.group("text", text, "text: documents of a language model");
  }

  bool is_text() const { return name == TaskName::text; }
  /// The objective (train/objectives) of a run that names none.
  std::string default_objective() const { return is_text() ? "text" : "regression"; }
  std::string validate() const;
};

}  // namespace incontext::tasks
