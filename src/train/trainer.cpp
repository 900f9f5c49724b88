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

ops::Settings settings_of(const RunOptions& options, torch::Device device, ops::Settings operations) {
  using enum models::TrainingPrecision;
  const models::TrainingPrecision precision = options.training.precision;
  base::check(precision != tf32 || device.is_cuda(),
              "training.precision: tf32 is arithmetic of NVIDIA's GPUs (--device cuda); expected f32 or bf16 on {}",
              device.str());
  tensor::allow_tf32(precision == tf32);
  if (precision == bf16) operations.precision = kernels::Precision::bf16;
  return operations;
}

// Adds the losses of one of `parts` parts of a batch.
void add_values(const Losses& losses, int64_t parts, std::vector<LossValue>& sums) {
  if (sums.empty()) {
    for (const Loss& loss : losses) sums.push_back({.name = loss.name});
  }
  for (size_t i = 0; i < losses.size(); ++i) {
    sums.at(i).value += losses[i].value.item<double>() / static_cast<double>(parts);
  }
}

}  // namespace

Trainer::Trainer(const RunOptions& options, torch::Device device, const ops::Settings& operations)
    : options_(resolved(options)),
      objective_(make_objective(
          {.options = options_, .device = device, .operations = settings_of(options_, device, operations)})),
      optimizer_(options_.training.optimizer, objective_->parameters()) {
  if (device.is_cuda()) gpu_step_ = std::make_unique<GpuStep>(*objective_, optimizer_);
}

StepStats Trainer::step() {
  const TrainingOptions& training = options_.training;
  StepStats stats;
  stats.step = steps_done_ + 1;
  stats.stage = training.curriculum.at(steps_done_);
  stats.learning_rate = training.learning_rate * schedule_factor(training.schedule, steps_done_, training.steps);

  compute_gradients(stats);
  if (!std::isfinite(stats.loss)) {
    throw Diverged(fmt::format("training stopped at step {}: the loss is {} (learning rate {:.3g})", stats.step,
                               stats.loss, stats.learning_rate));
  }
  if (!std::isfinite(stats.gradient_norm)) {
    throw Diverged(
        fmt::format("training stopped at step {}: the gradient norm is {} (loss {:.3g}, learning rate {:.3g})",
                    stats.step, stats.gradient_norm, stats.loss, stats.learning_rate));
  }
  const bool clip = training.clip_norm > 0 && stats.gradient_norm > training.clip_norm;
  optimizer_.step(stats.learning_rate, clip ? training.clip_norm / stats.gradient_norm : 1, stats.step,
                  objective_->operations().kernels);
  ++steps_done_;
  return stats;
}

void Trainer::compute_gradients(StepStats& stats) {
  const TrainingOptions& training = options_.training;
  const auto first = static_cast<uint64_t>(steps_done_ * training.batch_size);
  if (gpu_step_) {
    const GpuStep::Result result = gpu_step_->run({.first = first,
                                                   .count = training.batch_size,
                                                   .parts = training.accumulation,
                                                   .stage = stats.stage,
                                                   .next_stage = training.curriculum.at(steps_done_ + 1)});
    stats.loss = result.loss;
    stats.losses = result.losses;
    stats.gradient_norm = result.gradient_norm;
    return;
  }
  objective_->zero_gradients();
  const int64_t part = training.batch_size / training.accumulation;
  for (int64_t i = 0; i < training.accumulation; ++i) {
    const auto samples = objective_->sample(first + static_cast<uint64_t>(i * part), part, stats.stage);
    const Losses losses = objective_->losses(samples, stats.stage);
    const torch::Tensor loss = total_loss(losses) / static_cast<double>(training.accumulation);
    stats.loss += loss.item<double>();
    add_values(losses, training.accumulation, stats.losses);
    if (!std::isfinite(stats.loss)) return;
    loss.backward();
  }
  stats.gradient_norm = optimizer_.gradient_norm();
}

}  // namespace incontext::train
