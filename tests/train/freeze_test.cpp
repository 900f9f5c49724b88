#include <gtest/gtest.h>

#include "base/file.h"
#include "base/text.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "tensor/safetensors.h"
#include "train/run.h"

namespace incontext::train {
namespace {

using testing::error_of;

RunOptions frozen_run(const std::vector<std::string>& patterns) {
  RunOptions options;
  options.model.width = 16;
  options.model.layers = 2;
  options.model.attention.heads = 2;
  options.task.dims = 3;
  options.training.steps = 6;
  options.training.batch_size = 8;
  options.training.learning_rate = 1e-2;
  options.training.checkpoint_every = 3;
  options.training.log_every = 1;
  options.training.freeze = patterns;
  return options;
}

bool is_frozen(const std::string& name) { return name.starts_with("layers.0.") || name.starts_with("read_in."); }

TEST(Freeze, FrozenParametersKeepTheirBitsAndHaveNoMoments) {
  for (const bool kernels : {true, false}) {
    Trainer trainer(frozen_run({"layers.0.*", "read_in.*"}), torch::kCPU, {.kernels = kernels});
    Trainer free(frozen_run({}), torch::kCPU, {.kernels = kernels});
    std::vector<torch::Tensor> before;
    for (const auto& parameter : trainer.model().parameters()) before.push_back(parameter.tensor.detach().clone());
    // What is trained gets the same gradients as if all were, so the norm alone is smaller.
    const StepStats first = trainer.step();
    const StepStats first_free = free.step();
    EXPECT_EQ(first.loss, first_free.loss);
    EXPECT_LT(first.gradient_norm, first_free.gradient_norm);
    for (int i = 0; i < 4; ++i) trainer.step();
    size_t trained = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      const auto& parameter = trainer.model().parameters()[i];
      const bool frozen = is_frozen(parameter.name);
      EXPECT_EQ(parameter.tensor.equal(before[i]), frozen) << parameter.name;
      EXPECT_EQ(parameter.tensor.grad().defined(), !frozen) << parameter.name;
      trained += frozen ? 0 : 1;
    }
    EXPECT_EQ(trainer.optimizer().moments().size(), trained);
    EXPECT_LT(trained, before.size());
  }
}

TEST(Freeze, AResumedRunEqualsAWholeOne) {
  const testing::TemporaryDirectory place;
  const auto run = [&](const char* name, int64_t steps, bool resume) {
    RunOptions options = frozen_run({"layers.?.norm*"});
    options.training.steps = steps;
    run_training(options, {.directory = place / name, .resume = resume, .quiet = true}, torch::kCPU, {});
  };
  run("whole", 6, false);
  run("parts", 4, false);
  run("parts", 6, true);
  EXPECT_EQ(base::read_file(place / "parts" / "checkpoint-000006" / "model.safetensors"),
            base::read_file(place / "whole" / "checkpoint-000006" / "model.safetensors"));
  const tensor::SafetensorsFile state(place / "whole" / "checkpoint-000006" / "trainer_state.safetensors");
  EXPECT_TRUE(state.contains("first.layers.0.mlp.up.weight"));
  EXPECT_FALSE(state.contains("first.layers.0.norm1.weight"));
}

TEST(Freeze, PatternsThatFitNothingOrAllAreErrors) {
  const auto error_for = [](const std::vector<std::string>& patterns) {
    return error_of([&] { Trainer(frozen_run(patterns), torch::kCPU, {}); });
  };
  EXPECT_CONTAINS(error_for({"layers.7.*"}), "training.freeze: no parameter is called 'layers.7.*'");
  EXPECT_CONTAINS(error_for({"read_inn.weight"}), "did you mean 'read_in.weight'?");
  EXPECT_CONTAINS(error_for({"*"}), "training.freeze: nothing is left to train");
}

// Runs from before there were objectives and frozen parameters go on.
TEST(Freeze, ARunOfAnOlderVersionResumes) {
  const testing::TemporaryDirectory place;
  const auto run = [&](const char* name, int64_t steps, bool resume) {
    RunOptions options = frozen_run({});
    options.training.steps = steps;
    return run_training(options, {.directory = place / name, .resume = resume, .quiet = true}, torch::kCPU, {});
  };
  run("run", 4, false);
  run("whole", 6, false);
  const auto config = place / "run" / "config.yaml";
  std::string old;
  for (const std::string& line : base::split(base::read_file(config), '\n')) {
    if (line.starts_with("objective:") || line.starts_with("  freeze:")) continue;
    old += line + "\n";
  }
  EXPECT_LT(old.size(), base::read_file(config).size());
  base::write_file_atomic(config, old);
  EXPECT_EQ(run("run", 6, true).first_step, 4);
  EXPECT_EQ(base::read_file(place / "run" / "checkpoint-000006" / "model.safetensors"),
            base::read_file(place / "whole" / "checkpoint-000006" / "model.safetensors"));
}

}  // namespace
}  // namespace incontext::train
