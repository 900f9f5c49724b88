#pragma once

#include <string>
#include <vector>

#include "base/options.h"
#include "models/decoder_options.h"
#include "models/training_precision.h"
#include "tasks/task_options.h"
#include "train/schedule.h"

namespace incontext::train {

enum class UpdateRule { adam, adamw };
constexpr auto names_of(UpdateRule) {
  using enum UpdateRule;
  return std::to_array<base::EnumName<UpdateRule>>({{adam, "adam"}, {adamw, "adamw"}});
}

struct OptimizerOptions {
  UpdateRule name = UpdateRule::adam;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("name", name, "adam: decay enters the gradient; adamw: decay acts on the weight");
    v.field("beta1", beta1, "memory of the first moment", base::between(0, 0.9999999));
    v.field("beta2", beta2, "memory of the second moment", base::between(0, 0.9999999));
    v.field("epsilon", epsilon, "added to the root of the second moment", base::positive());
    v.field("weight_decay", weight_decay, "0: none", base::at_least(0));
  }
};

/// Where a curriculum stands at one step.
struct Stage {
  int64_t dims = 0, points = 0, loops = 0;
  bool operator==(const Stage&) const = default;
};

struct CurriculumOptions {
  Ramp dims;
  Ramp points;
  Ramp loops;

  Stage at(int64_t step) const { return {.dims = dims.at(step), .points = points.at(step), .loops = loops.at(step)}; }

  template <class Visitor>
  void visit(Visitor& v) {
    v.group("dims", dims, "active input dimensions; end 0: task.dims");
    v.group("points", points, "examples in a prompt; end 0: 2 * task.dims + 1");
    v.group("loops", loops, "loops of a looped model; end 0: model.loop.count");
  }
};

/// Logs beside records.jsonl.
enum class LogFormat { tensorboard, csv };
constexpr auto names_of(LogFormat) {
  using enum LogFormat;
  return std::to_array<base::EnumName<LogFormat>>({{tensorboard, "tensorboard"}, {csv, "csv"}});
}

struct TrainingOptions {
  int64_t steps = 500000;
  int64_t batch_size = 64;
  int64_t accumulation = 1;
  double learning_rate = 1e-4;
  double clip_norm = 0;
  models::TrainingPrecision precision = models::TrainingPrecision::f32;
  int64_t loop_window = 0;
  std::string initial_weights;
  std::vector<std::string> freeze;
  OptimizerOptions optimizer;
  ScheduleOptions schedule;
  CurriculumOptions curriculum;
  int64_t log_every = 100;
  int64_t evaluate_every = 0;
  int64_t evaluate_prompts = 256;
  int64_t checkpoint_every = 1000;
  int64_t keep_checkpoints = 2;
  std::vector<LogFormat> logs = {LogFormat::tensorboard};

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("steps", steps, "optimizer steps in all", base::at_least(1));
    v.field("batch_size", batch_size, "prompts in a step", base::at_least(1));
    v.field("accumulation", accumulation, "parts a batch is computed in, to save memory", base::at_least(1));
    v.field("learning_rate", learning_rate, "peak step size", base::positive());
    v.field("clip_norm", clip_norm, "largest gradient norm; 0: no clipping", base::at_least(0));
    v.field("precision", precision,
            "rounding of the factors of matrix products (tf32: on a GPU only); sums and weights stay in fp32");
    v.field("loop_window", loop_window,
            "T: the loss averages the last T loops, earlier ones run without gradient; "
            "0: all loops",
            base::at_least(0));
    v.field("initial_weights", initial_weights,
            "run directory or model folder whose weights it begins with; empty: random ones");
    v.field("freeze", freeze,
            "names of parameters that stay as they are, in which * stands for any characters and ? for one");
    v.group("optimizer", optimizer, "update rule");
    v.group("schedule", schedule, "learning rate over time");
    v.group("curriculum", curriculum, "what grows during training");
    v.field("log_every", log_every, "steps between records of the loss", base::at_least(1));
    v.field("evaluate_every", evaluate_every, "steps between evaluations on held-out prompts; 0: none",
            base::at_least(0));
    v.field("evaluate_prompts", evaluate_prompts, "prompts of such an evaluation", base::at_least(1));
    v.field("checkpoint_every", checkpoint_every, "steps between checkpoints", base::at_least(1));
    v.field("keep_checkpoints", keep_checkpoints, "how many to keep", base::at_least(1));
    v.field("logs", logs, "further logs beside records.jsonl");
  }

  std::string validate() const {
    if (batch_size % accumulation != 0) {
      return fmt::format("batch_size {} is not a multiple of accumulation {}", batch_size, accumulation);
    }
    return "";
  }
};

/// What a run learns: the name of an objective (objectives/objective.h), and the options that this objective alone has.
/// Written as `objective: NAME`, or as a group of `name` and the options.
struct ObjectiveOptions {
  std::string name;                          // empty: the one that goes with the task
  base::Json values = base::Json::object();  // its options, once they are read or resolved all of them

  /// An Error for an unknown objective, and for options that it does not have.
  void read(const base::ConfigNode& node, const std::string& key);
  base::Json json() const {
    if (values.empty()) return name;
    base::Json group = {{"name", name}};
    group.update(values);
    return group;
  }
};

/// A whole run: what `incontext train` reads from a YAML file.
struct RunOptions {
  uint64_t seed = 0;
  models::DecoderOptions model;
  tasks::TaskOptions task;
  ObjectiveOptions objective;
  TrainingOptions training;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("seed", seed, "of weights and data");
    v.group("model", model, "the decoder");
    v.group("task", task, "what it learns to learn");
    v.field("objective", objective,
            "what is minimised and measured: a name, or a group of `name` and its options; empty: the task's own "
            "(regression, or text)");
    v.group("training", training, "how");
  }

  std::string validate() const;

  /// Fills in what was left to other options (the objective, and what it says: curriculum ends, loop window; of a
  /// language model its vocabulary and longest sequence), and makes paths absolute.
  void resolve();
};

}  // namespace incontext::train
