#include "train/trainer.h"

#include <cmath>

namespace incontext::train {
namespace {

RunOptions resolved(RunOptions options) {
  const std::string problem = options.validate();
  base::check(problem.empty(), "{}", problem);
  options.resolve();
  return options;
}

}  // namespace

Trainer::Trainer(const RunOptions& options, torch::Device device, const ops::Settings& operations)
    : options_(resolved(options)),
      device_(device),
      objective_(make_objective(options_, device)),
      model_(options_.model, objective_->input_dims(), options_.seed, device),
      optimizer_(options_.training.optimizer, model_.parameters()) {
  model_.operations() = operations;
  if (options_.training.precision == "bf16") model_.operations().precision = kernels::Precision::bf16;
}

StepStats Trainer::step() {
  const TrainingOptions& training = options_.training;
  StepStats stats;
  stats.step = steps_done_ + 1;
  stats.stage = training.curriculum.at(steps_done_);
  stats.learning_rate = training.learning_rate * schedule_factor(training.schedule, steps_done_, training.steps);

  model_.zero_gradients();
  const int64_t part = training.batch_size / training.accumulation;
  for (int64_t i = 0; i < training.accumulation; ++i) {
    const auto first = static_cast<uint64_t>(steps_done_ * training.batch_size + i * part);
    const torch::Tensor loss =
        objective_->loss(model_, first, part, stats.stage) / static_cast<double>(training.accumulation);
    stats.loss += loss.item<double>();
    if (!std::isfinite(stats.loss)) break;
    loss.backward();
  }
  if (!std::isfinite(stats.loss)) {
    throw Diverged(fmt::format("training stopped at step {}: the loss is {} (learning rate {:.3g})", stats.step,
                               stats.loss, stats.learning_rate));
  }
  stats.gradient_norm = optimizer_.gradient_norm();
  if (!std::isfinite(stats.gradient_norm)) {
    throw Diverged(
        fmt::format("training stopped at step {}: the gradient norm is {} (loss {:.3g}, learning rate {:.3g})",
                    stats.step, stats.gradient_norm, stats.loss, stats.learning_rate));
  }
  const bool clip = training.clip_norm > 0 && stats.gradient_norm > training.clip_norm;
  optimizer_.step(stats.learning_rate, clip ? training.clip_norm / stats.gradient_norm : 1, stats.step,
                  model_.operations().kernels);
  ++steps_done_;
  return stats;
}

}  // namespace incontext::train
