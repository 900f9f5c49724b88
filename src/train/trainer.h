#pragma once

#include <memory>

#include "base/error.h"
#include "train/gpu_step.h"
#include "train/objectives/objective.h"
#include "train/optimizer.h"
#include "train/options.h"

namespace incontext::train {

struct StepStats {
  int64_t step = 0;                    // 1-based: steps done, this one included
  double loss = 0;                     // what was minimised
  std::vector<LossValue> losses = {};  // of all the objective's losses
  double gradient_norm = 0;
  double learning_rate = 0;
  Stage stage;  // of the curriculum
};

/// The loss or a gradient is not finite. The weights are those of the last good step.
class Diverged : public base::Error {
 public:
  using base::Error::Error;
};

/// Objective and optimizer, advanced one step at a time. A step is a pure function of the weights, the moments,
/// the options and the step's number, which is what makes resuming exact: there is no other state.
class Trainer {
 public:
  Trainer(const RunOptions& options, torch::Device device, const ops::Settings& operations);

  /// One optimizer step. Throws Diverged, without updating, when the loss or the gradient norm is not finite.
  StepStats step();

  int64_t steps_done() const { return steps_done_; }
  void set_steps_done(int64_t steps) { steps_done_ = steps; }
  const RunOptions& options() const { return options_; }
  /// The objective's first.
  models::Decoder& model() { return objective_->model(); }
  const models::Decoder& model() const { return static_cast<const Objective&>(*objective_).model(); }
  Optimizer& optimizer() { return optimizer_; }
  const Optimizer& optimizer() const { return optimizer_; }
  Objective& objective() { return *objective_; }
  const Objective& objective() const { return *objective_; }

 private:
  /// Leaves the batch's gradients in the parameters and fills in the loss and the gradient norm. Stops at a loss that
  /// is not finite, and leaves the norm.
  void compute_gradients(StepStats& stats);

  RunOptions options_;
  std::unique_ptr<Objective> objective_;
  Optimizer optimizer_;
  std::unique_ptr<GpuStep> gpu_step_;  // on a GPU
  int64_t steps_done_ = 0;
};

}  // namespace incontext::train
