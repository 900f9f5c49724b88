// Every configuration under experiments/ loads, and its model takes one step.

#include <gtest/gtest.h>

#include <filesystem>

#include "train/trainer.h"

namespace incontext::train {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> configurations() {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(INCONTEXT_SOURCE_DIR) / "experiments")) {
    if (entry.path().extension() == ".yaml" && entry.path().filename() != "base.yaml" &&
        entry.path().filename() != "evaluation.yaml")
      paths.push_back(entry.path());
  }
  return paths;
}

TEST(Configurations, LoadAndTakeOneStep) {
  fs::current_path(INCONTEXT_SOURCE_DIR);  // paths of text in a configuration are relative
  const std::vector<fs::path> paths = configurations();
  ASSERT_GE(paths.size(), 10u);
  for (const fs::path& path : paths) {
    SCOPED_TRACE(path.string());
    RunOptions options;
    base::read_options(base::load_yaml(path), options);
    options.training.batch_size = 2;  // one step of the real model on less data
    Trainer trainer(options, torch::kCPU, {});
    const StepStats stats = trainer.step();
    EXPECT_GT(stats.loss, 0);
    EXPECT_GT(stats.gradient_norm, 0);
    if (!options.task.is_text()) {
      EXPECT_GE(stats.stage.points, 6);
    }
  }
}

}  // namespace
}  // namespace incontext::train
