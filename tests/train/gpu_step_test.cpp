#include "train/gpu_step.h"

#include <gtest/gtest.h>

#include "support/tensor_close.h"
#include "tensor/device.h"
#include "train/trainer.h"

namespace incontext::train {
namespace {

// Shapes and loop budgets that change on the way, in the middle of a stage's batches and at once.
RunOptions changing_run() {
  RunOptions options;
  options.model.width = 16;
  options.model.layers = 1;
  options.model.attention.heads = 2;
  options.model.loop.count = 5;
  options.task.dims = 4;
  options.training.steps = 100;
  options.training.batch_size = 8;
  options.training.learning_rate = 1e-2;
  options.training.loop_window = 2;
  options.training.curriculum.dims = {.start = 2, .end = 4, .increment = 1, .interval = 3};
  options.training.curriculum.points = {.start = 3, .end = 9, .increment = 2, .interval = 4};
  options.training.curriculum.loops = {.start = 3, .end = 5, .increment = 1, .interval = 5};
  return options;
}

TEST(GpuStep, IsTheTrainersStep) {
  for (const int64_t parts : {1, 2}) {
    SCOPED_TRACE(parts);
    RunOptions options = changing_run();
    options.training.accumulation = parts;
    Trainer trainer(options, torch::kCPU, {});
    const auto objective = make_objective(
        {.options = trainer.options(), .device = torch::kCPU, .operations = trainer.model().operations()});
    Optimizer optimizer(options.training.optimizer, objective->parameters());
    GpuStep step(*objective, optimizer);
    const CurriculumOptions& curriculum = trainer.options().training.curriculum;
    for (int64_t i = 0; i < 20; ++i) {
      SCOPED_TRACE(i);
      const StepStats stats = trainer.step();
      const GpuStep::Result result = step.run({.first = static_cast<uint64_t>(i * options.training.batch_size),
                                               .count = options.training.batch_size,
                                               .parts = parts,
                                               .stage = curriculum.at(i),
                                               .next_stage = curriculum.at(i + 1)});
      EXPECT_NEAR(result.loss, stats.loss, 2e-6 * stats.loss);
      ASSERT_EQ(result.losses.size(), 1u);
      EXPECT_EQ(result.losses[0].name, "squared_error");
      EXPECT_NEAR(result.losses[0].value, stats.losses.at(0).value, 2e-6 * stats.loss);
      EXPECT_NEAR(result.gradient_norm, stats.gradient_norm, 2e-5 * stats.gradient_norm);
      optimizer.step(stats.learning_rate, 1, i + 1, /*use_kernels=*/true);
    }
  }
}

TEST(GpuStep, LosesNoSampleWhenStepsAreLeftOut) {
  const RunOptions options = changing_run();
  const Trainer trainer(options, torch::kCPU, {});
  const auto objective =
      make_objective({.options = trainer.options(), .device = torch::kCPU, .operations = trainer.model().operations()});
  Optimizer optimizer(options.training.optimizer, objective->parameters());
  const Stage stage = trainer.options().training.curriculum.at(0);
  const auto loss_of = [&](GpuStep& step, uint64_t first) {
    return step.run({.first = first, .count = 8, .parts = 1, .stage = stage, .next_stage = stage}).loss;
  };
  GpuStep fresh(*objective, optimizer);
  const double third = loss_of(fresh, 16);
  GpuStep used(*objective, optimizer);
  const double first = loss_of(used, 0);
  EXPECT_NE(first, third);
  EXPECT_EQ(loss_of(used, 16), third) << "drew samples 8 to 15 for the next step, which then was another";
  EXPECT_EQ(loss_of(used, 0), first);
}

// Runs where there is a GPU; the program needs none.
TEST(GpuStep, OnAGpuTheLossesAreTheProcessors) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "this libtorch sees no CUDA device";
  const torch::Device gpu = tensor::start({.device = "cuda"}).device;
  RunOptions looped = changing_run();
  RunOptions rotary = changing_run();
  rotary.model.loop.count = 0;
  rotary.training.loop_window = 0;
  rotary.training.curriculum.loops = {};
  rotary.model.layers = 2;
  rotary.model.norm.type = models::NormType::rms;
  rotary.model.position = models::PositionType::rotary;
  rotary.model.mlp.type = models::MlpType::gated;
  rotary.model.attention.kv_heads = 1;
  rotary.training.accumulation = 2;
  rotary.training.clip_norm = 0.5;
  for (const RunOptions& options : {looped, rotary}) {
    for (const bool kernels : {true, false}) {
      Trainer on_cpu(options, torch::kCPU, {});
      Trainer on_gpu(options, gpu, {.kernels = kernels});
      for (int64_t i = 0; i < 30; ++i) {
        SCOPED_TRACE(i);
        const StepStats expected = on_cpu.step();
        const StepStats stats = on_gpu.step();
        EXPECT_NEAR(stats.loss, expected.loss, 1e-4 * expected.loss);
        EXPECT_NEAR(stats.gradient_norm, expected.gradient_norm, 1e-3 * expected.gradient_norm);
      }
    }
  }
}

}  // namespace
}  // namespace incontext::train
