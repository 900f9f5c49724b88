#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "eval/baselines/baseline_options.h"
#include "eval/baselines/bootstrap_options.h"
#include "tasks/prompt_options.h"

namespace incontext::eval {

struct EvaluationOptions {
  int64_t prompts = 1280;
  int64_t batch = 64;
  int64_t points = 0;
  int64_t active_dims = 0;
  uint64_t seed = 0;
  std::vector<tasks::PromptKind> kinds = {tasks::PromptKind::standard};
  double factor = 3;
  double noise = 1;
  std::vector<int64_t> loops;
  int64_t by_loop = -1;
  BaselineOptions baselines;
  BootstrapOptions bootstrap;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("prompts", prompts, "prompts to average over", base::at_least(1));
    v.field("batch", batch, "prompts at a time", base::at_least(1));
    v.field("points", points, "questions in a prompt; 0: as many as in training", base::at_least(0));
    v.field(
        "active_dims", active_dims,
        "dimensions in which inputs and functions are not zero, as in a stage of the curriculum; 0: all of the task's",
        base::at_least(0));
    v.field("seed", seed, "names the evaluation prompts");
    v.field("kinds", kinds, "kinds of prompts, see tasks");
    v.field("factor", factor, "of scaled_inputs", base::positive());
    v.field("noise", noise, "of label_noise", base::at_least(0));
    v.field("loops", loops, "loop counts of a looped model; empty: its own", base::at_least(1));
    v.field("by_loop", by_loop,
            "measure after every loop up to this one, at 2 * dims examples; -1: ten times the "
            "model's own count; 0: not",
            base::at_least(-1));
    v.group("baselines", baselines, "classical methods");
    v.group("bootstrap", bootstrap, "intervals");
  }
};

}  // namespace incontext::eval
