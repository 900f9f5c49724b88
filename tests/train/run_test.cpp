#include "train/run.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/text.h"
#include "models/checkpoint_folders.h"
#include "support/temporary_directory.h"
#include "train/run_log.h"

namespace incontext::train {
namespace {

namespace fs = std::filesystem;

RunOptions options_for(int64_t steps) {
  RunOptions options;
  options.model.width = 16;
  options.model.layers = 1;
  options.model.attention.heads = 2;
  options.model.loop.count = 4;
  options.task.dims = 3;
  options.training.steps = steps;
  options.training.batch_size = 8;
  options.training.learning_rate = 1e-2;
  options.training.loop_window = 2;
  options.training.curriculum.loops = {.start = 2, .end = 4, .increment = 1, .interval = 5};
  options.training.log_every = 1;
  options.training.evaluate_every = 6;
  options.training.evaluate_prompts = 8;
  options.training.checkpoint_every = 5;
  options.training.logs = {LogFormat::tensorboard, LogFormat::csv};
  return options;
}

RunResult run(const fs::path& directory, int64_t steps, bool resume = false) {
  return run_training(options_for(steps), {.directory = directory, .resume = resume, .command = "test", .quiet = true},
                      torch::kCPU, {});
}

std::vector<std::string> measured(const fs::path& directory) {
  std::vector<std::string> lines;
  for (const base::Record& record : base::read_records(directory / "records.jsonl")) {
    base::Json setting = record.setting;
    setting.erase("run");  // the directory's name
    lines.push_back(fmt::format("{} {:.17g} {}", record.what, record.value, setting.dump()));
  }
  return lines;
}

TEST(Run, ResumedEqualsUninterruptedBitForBit) {
  const testing::TemporaryDirectory place;
  run(place / "whole", 17);
  // Stopped by its length at 8, which is between two checkpoints of the longer run, then continued.
  run(place / "parts", 8);
  const RunResult rest = run(place / "parts", 17, /*resume=*/true);
  EXPECT_EQ(rest.first_step, 8);
  std::vector<std::string> whole = measured(place / "whole");
  std::vector<std::string> parts = measured(place / "parts");
  // The shorter run evaluated at its own last step, which the longer one had no reason to.
  std::erase_if(parts, [](const std::string& line) {
    return line.find("held_out") != std::string::npos && line.find("\"step\":8") != std::string::npos;
  });
  EXPECT_EQ(parts, whole);
  EXPECT_GT(whole.size(), 17u * 3);
  const auto bytes = [](const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_EQ(bytes(place / "whole" / "checkpoint-000017" / "model.safetensors"),
            bytes(place / "parts" / "checkpoint-000017" / "model.safetensors"));
}

TEST(Run, RecordsAfterTheCheckpointAreWrittenOnce) {
  const testing::TemporaryDirectory place;
  run(place / "whole", 12);
  run(place / "cut", 12);
  // What a power cut between step 10's checkpoint and the end leaves: the later checkpoint gone, half a line at the
  // end.
  fs::remove_all(place / "cut" / "checkpoint-000012");
  fs::create_directories(place / "cut" / ".partial-checkpoint-000012");
  std::ofstream(place / "cut" / "records.jsonl", std::ios::app) << "{\"what\": \"training_lo";
  const RunResult rest = run(place / "cut", 12, /*resume=*/true);
  EXPECT_EQ(rest.first_step, 10);
  EXPECT_EQ(measured(place / "cut"), measured(place / "whole"));
  EXPECT_FALSE(fs::exists(place / "cut" / ".partial-checkpoint-000012"));
  std::ifstream csv(place / "cut" / "metrics.csv");
  int lines = 0;
  for (std::string line; std::getline(csv, line);) lines += line.starts_with("11,training_loss,") ? 1 : 0;
  EXPECT_EQ(lines, 1);
}

TEST(Run, AnExistingDirectoryIsNotTouched) {
  const testing::TemporaryDirectory place;
  run(place / "run", 3);
  EXPECT_THROW(run(place / "run", 3), base::Error);
  std::ofstream(place / "file") << "x";
  EXPECT_THROW(run(place / "file", 3), base::Error);
}

TEST(Run, ResumeRefusesOtherOptionsButTakesMoreSteps) {
  const testing::TemporaryDirectory place;
  run(place / "run", 3);
  RunOptions other = options_for(6);
  other.training.learning_rate = 2e-2;
  try {
    run_training(other, {.directory = place / "run", .resume = true, .quiet = true}, torch::kCPU, {});
    FAIL() << "expected an Error";
  } catch (const base::Error& error) {
    EXPECT_NE(std::string(error.what()).find("training.learning_rate"), std::string::npos) << error.what();
  }
  EXPECT_EQ(run(place / "run", 6, true).steps_done, 6);
}

// A run of the time when the model's options were in one flat struct.
TEST(Run, ResumesFromAConfigurationWithOldNames) {
  const testing::TemporaryDirectory place;
  run(place / "run", 3);
  const base::Json options = base::options_to_json(read_run_options(place / "run"));
  base::Json old = options;
  for (const char* group : {"attention", "rope", "norm", "mlp", "tokens"}) old["model"].erase(group);
  for (const base::OldName& name : models::kOldOptionNames) {
    base::Json value = options["model"];
    for (const std::string& key : base::split(name.new_name, '.')) value = base::Json(value.at(key));
    old["model"][name.old_name] = value;
  }
  ASSERT_EQ(old["model"]["heads"], 2);
  ASSERT_EQ(old["model"]["norm"], "layer");
  base::write_file_atomic(place / "run" / "config.yaml", base::json_to_yaml(old));
  EXPECT_EQ(base::options_to_json(read_run_options(place / "run")), options);
  EXPECT_EQ(run(place / "run", 6, true).first_step, 3);
  EXPECT_EQ(base::options_to_json(read_run_options(place / "run"))["model"], options["model"]);
}

TEST(Run, KeepsTheNewestCheckpoints) {
  const testing::TemporaryDirectory place;
  run(place / "run", 22);
  EXPECT_FALSE(fs::exists(place / "run" / "checkpoint-000015"));
  EXPECT_TRUE(fs::exists(place / "run" / "checkpoint-000020"));
  EXPECT_EQ(models::latest_checkpoint(place / "run"), place / "run" / "checkpoint-000022");
}

TEST(Run, DivergenceNamesTheLastGoodCheckpoint) {
  const testing::TemporaryDirectory place;
  RunOptions options = options_for(100);
  options.training.learning_rate = 1e30;
  try {
    run_training(options, {.directory = place / "run", .quiet = true}, torch::kCPU, {});
    FAIL() << "expected Diverged";
  } catch (const Diverged& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("at step "), std::string::npos) << message;
    EXPECT_NE(message.find("checkpoint-0000"), std::string::npos) << message;
  }
  EXPECT_TRUE(models::latest_checkpoint(place / "run").has_value());
}

}  // namespace
}  // namespace incontext::train
