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
      objective_(make_objective(options_)),
      model_(options_.model, objective_->input_dims(), options_.seed, device),
      optimizer_(options_.training.optimizer, model_.parameters()) {
  const std::string& precision = options_.training.precision;
  base::check(precision != "tf32" || device.is_cuda(),
              "training.precision: tf32 is arithmetic of NVIDIA's GPUs (--device cuda); expected f32 or bf16 on {}",
              device.str());
  tensor::allow_tf32(precision == "tf32");
  model_.operations() = operations;
  if (precision == "bf16") model_.operations().precision = kernels::Precision::bf16;
  if (device.is_cuda()) gpu_step_ = std::make_unique<GpuStep>(*objective_, model_, optimizer_, device);
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
                  model_.operations().kernels);
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
    stats.gradient_norm = result.gradient_norm;
    return;
  }
  model_.zero_gradients();
  const int64_t part = training.batch_size / training.accumulation;
  for (int64_t i = 0; i < training.accumulation; ++i) {
    const auto samples = objective_->sample(first + static_cast<uint64_t>(i * part), part, stats.stage);
    const torch::Tensor loss =
        objective_->loss(model_, samples, stats.stage) / static_cast<double>(training.accumulation);
    stats.loss += loss.item<double>();
    if (!std::isfinite(stats.loss)) return;
    loss.backward();
  }
  stats.gradient_norm = optimizer_.gradient_norm();
}

}  // namespace incontext::train
