#include "train/trainer.h"

#include <gtest/gtest.h>

#include <limits>

#include "support/tensor_close.h"
#include "tensor/device.h"

namespace incontext::train {
namespace {

RunOptions small_run() {
  RunOptions options;
  options.model.width = 16;
  options.model.layers = 2;
  options.model.attention.heads = 2;
  options.task.dims = 3;
  options.training.steps = 200;
  options.training.batch_size = 16;
  options.training.learning_rate = 1e-2;
  return options;
}

RunOptions small_looped_run() {
  RunOptions options = small_run();
  options.model.layers = 1;
  options.model.loop.count = 5;
  options.training.loop_window = 2;
  return options;
}

std::vector<double> losses(const RunOptions& options, int steps, const ops::Settings& settings = {}) {
  Trainer trainer(options, torch::kCPU, settings);
  std::vector<double> values;
  for (int i = 0; i < steps; ++i) values.push_back(trainer.step().loss);
  return values;
}

TEST(Trainer, LearnsSomething) {
  for (const RunOptions& options : {small_run(), small_looped_run()}) {
    RunOptions quick = options;
    quick.task.dims = 1;
    quick.model.init_std = 0.25;
    const std::vector<double> values = losses(quick, 200);
    double first = 0;
    double last = 0;
    for (size_t i = 0; i < 20; ++i) {
      first += values[i] / 20;
      last += values[values.size() - 1 - i] / 20;
    }
    EXPECT_LT(last, 0.9 * first);
    EXPECT_GT(last, 0.05 * first) << "too good to be true";
  }
}

TEST(Trainer, SameLossesForAnyNumberOfThreads) {
  const std::vector<double> expected = losses(small_looped_run(), 10);
  for (const int threads : {1, 3}) {
    tensor::set_kernel_threads(threads);
    EXPECT_EQ(losses(small_looped_run(), 10), expected) << threads;
  }
  tensor::set_kernel_threads(2);
}

TEST(Trainer, KernelsAndFallbackGiveTheSameLosses) {
  for (const RunOptions& options : {small_run(), small_looped_run()}) {
    const std::vector<double> kernels = losses(options, 20);
    const std::vector<double> fallback = losses(options, 20, {.kernels = false});
    EXPECT_CLOSE(std::span<const double>(kernels), std::span<const double>(fallback),
                 (testing::Tolerance{.relative = 1e-3}));
  }
}

TEST(Trainer, Bf16FollowsFp32) {
  RunOptions bf16 = small_run();
  bf16.training.precision = models::TrainingPrecision::bf16;
  const std::vector<double> rounded = losses(bf16, 60);
  const std::vector<double> plain = losses(small_run(), 60);
  EXPECT_NE(rounded, plain);
  EXPECT_CLOSE(std::span<const double>(rounded), std::span<const double>(plain),
               (testing::Tolerance{.relative = 0.05}));
}

TEST(Trainer, AccumulationIsTheWholeBatch) {
  RunOptions parts = small_run();
  parts.training.accumulation = 4;
  EXPECT_CLOSE(std::span<const double>(losses(parts, 20)), std::span<const double>(losses(small_run(), 20)),
               (testing::Tolerance{.relative = 1e-3}));
}

TEST(Trainer, CurriculumReachesTheBatch) {
  RunOptions options = small_looped_run();
  options.training.curriculum.dims = {.start = 1, .end = 3, .increment = 1, .interval = 2};
  options.training.curriculum.points = {.start = 3, .end = 7, .increment = 4, .interval = 3};
  options.training.curriculum.loops = {.start = 2, .end = 5, .increment = 2, .interval = 1};
  Trainer trainer(options, torch::kCPU, {});
  std::vector<int64_t> dims, points, loops;
  for (int i = 0; i < 5; ++i) {
    const StepStats stats = trainer.step();
    dims.push_back(stats.stage.dims);
    points.push_back(stats.stage.points);
    loops.push_back(stats.stage.loops);
  }
  EXPECT_EQ(dims, (std::vector<int64_t>{1, 1, 2, 2, 3}));
  EXPECT_EQ(points, (std::vector<int64_t>{3, 3, 3, 7, 7}));
  EXPECT_EQ(loops, (std::vector<int64_t>{2, 4, 5, 5, 5}));
}

TEST(Trainer, ClippingBoundsTheUpdate) {
  // With plain Adam the first update does not depend on the gradient's size; with weight decay in the gradient it does.
  RunOptions options = small_run();
  options.training.clip_norm = 1e-12;
  options.training.optimizer.epsilon = 1;  // updates are then proportional to the gradient
  Trainer trainer(options, torch::kCPU, {});
  const torch::Tensor before = trainer.model().parameters()[0].tensor.detach().clone();
  EXPECT_GT(trainer.step().gradient_norm, 1e-3);
  EXPECT_TENSORS_CLOSE(trainer.model().parameters()[0].tensor.detach(), before,
                       (testing::Tolerance{.absolute = 1e-12}));
}

TEST(Trainer, DivergenceNamesTheStepAndLeavesTheWeights) {
  Trainer trainer(small_run(), torch::kCPU, {});
  trainer.step();
  torch::Tensor& weight = trainer.model().parameters()[0].tensor;
  {
    torch::NoGradGuard no_gradients;
    weight.fill_(std::numeric_limits<float>::infinity());
  }
  try {
    trainer.step();
    FAIL() << "expected Diverged";
  } catch (const Diverged& error) {
    EXPECT_NE(std::string(error.what()).find("step 2"), std::string::npos) << error.what();
  }
  EXPECT_EQ(trainer.steps_done(), 1);
  EXPECT_TRUE(weight.isinf().all().item<bool>());
}

TEST(RunOptions, ContradictionsAreNamed) {
  RunOptions options = small_run();
  options.model.max_positions = 10;
  EXPECT_NE(options.validate().find("max_positions"), std::string::npos);
  options = small_run();
  options.training.loop_window = 3;
  EXPECT_NE(options.validate().find("not looped"), std::string::npos);
  options = small_run();
  options.training.curriculum.dims = {.start = 2, .end = 9};
  EXPECT_NE(options.validate().find("task.dims"), std::string::npos);
  EXPECT_EQ(small_looped_run().validate(), "");
}

}  // namespace
}  // namespace incontext::train
