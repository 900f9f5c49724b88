#include "train/benchmark.h"

#include <gtest/gtest.h>

#include "models/checkpoint.h"
#include "support/temporary_directory.h"
#include "tensor/safetensors.h"
#include "train/objectives/regression.h"

namespace incontext::train {
namespace {

// What the peer starts from is what our own run starts from: its first losses follow from the files alone.
TEST(Benchmark, TheStartLaidDownIsOurOwn) {
  constexpr int64_t kSteps = 2;
  const testing::TemporaryDirectory folder;
  write_benchmark_start("tiny", kSteps, folder.path());
  const tensor::SafetensorsFile prompts(folder / "prompts.safetensors");
  Trainer ours(benchmark_options("tiny"), torch::kCPU, {});
  for (int64_t step = 0; step < kSteps; ++step) {
    const tasks::Batch batch{prompts.copy("xs")[step], prompts.copy("ys")[step]};
    EXPECT_EQ(batch.xs.sizes(), (std::vector<int64_t>{64, 41, 20}));
    const double expected = squared_error_objective(ours.model(), batch, loop_range(0, 0)).item<double>();
    EXPECT_EQ(ours.step().loss, expected) << "step " << step;
  }
  const models::Decoder loaded = models::load_model(folder.path(), torch::kCPU);
  const tasks::Batch batch{prompts.copy("xs")[0], prompts.copy("ys")[0]};
  const Trainer fresh(benchmark_options("tiny"), torch::kCPU, {});
  EXPECT_EQ(squared_error_objective(loaded, batch, loop_range(0, 0)).item<double>(),
            squared_error_objective(fresh.model(), batch, loop_range(0, 0)).item<double>());
}

}  // namespace
}  // namespace incontext::train
