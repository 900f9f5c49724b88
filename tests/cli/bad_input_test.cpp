// What people get wrong on the command line and in configurations: one clear line, a non-zero status, nothing lost.

#include <csignal>

#include "base/file.h"
#include "cli/program.h"
#include "support/errors.h"

namespace incontext::testing {
namespace {

class BadInput : public ::testing::Test {
 protected:
  TemporaryDirectory place;

  CommandResult train(const std::string& yaml, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"train", write_text(place / "config.yaml", yaml), "--out",
                                          (place / "run").string(), "--quiet"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return incontext_with(arguments);
  }
};

TEST_F(BadInput, MisspeltKeyNamesTheLineAndTheNearestKey) {
  expect_one_line_error(train("seed: 1\ntraining:\n  steps: 3\n  lerning_rate: 0.1\n"),
                        {"config.yaml:4", "training.lerning_rate", "did you mean 'training.learning_rate'?"});
  expect_one_line_error(train(tiny_config(), {"--set", "model.widht=8"}), {"--set model.widht=8", "model.width"});
  EXPECT_FALSE(std::filesystem::exists(place / "run"));
}

TEST_F(BadInput, WrongTypeOrRange) {
  expect_one_line_error(train("training: {steps: many}\n"),
                        {"config.yaml:1", "training.steps", "whole number", "many"});
  expect_one_line_error(train("training: {steps: 0}\n"), {"training.steps", "at least 1", "'0'"});
  expect_one_line_error(train("training:\n  learning_rate: -1\n"), {"config.yaml:2", "above 0", "'-1'"});
  expect_one_line_error(train("model: {width: [1, 2]}\n"), {"model.width", "a list"});
  expect_one_line_error(train("model: {mlp: {type: glue}}\n"), {"model.mlp.type", "one of", "did you mean 'gelu'?"});
  expect_one_line_error(train("task: {name: linear_regresion}\n"), {"task.name", "did you mean 'linear_regression'?"});
  expect_one_line_error(train("model: {width: 30, attention: {heads: 4}}\n"), {"30", "multiple", "4"});
  expect_one_line_error(train("model: {max_positions: 8}\n"), {"max_positions", "8"});
  EXPECT_FALSE(std::filesystem::exists(place / "run"));
}

TEST_F(BadInput, ConfigurationsThatInheritThemselves) {
  write_text(place / "a.yaml", "inherit: b.yaml\n");
  write_text(place / "b.yaml", "inherit: a.yaml\n");
  expect_one_line_error(incontext_with({"train", (place / "a.yaml").string(), "--out", (place / "run").string()}),
                        {"inherits itself", "a.yaml -> b.yaml -> a.yaml"});
  expect_one_line_error(train("inherit: nowhere.yaml\n"), {"config.yaml:1", "nowhere.yaml"});
}

TEST_F(BadInput, NotYamlAndNoFile) {
  expect_one_line_error(train("training: {steps: 3\n"), {"config.yaml", "YAML"});
  expect_one_line_error(incontext_with({"train", (place / "none.yaml").string(), "--out", "x"}),
                        {"none.yaml", "No such file"});
}

TEST_F(BadInput, RunDirectoryThatExists) {
  ASSERT_EQ(train(tiny_config()).status, 0);
  const auto before = std::filesystem::file_size(place / "run" / "records.jsonl");
  expect_one_line_error(train(tiny_config()), {"exists already", "--resume"});
  EXPECT_EQ(std::filesystem::file_size(place / "run" / "records.jsonl"), before);
  expect_one_line_error(train(tiny_config(), {"--resume", "--set", "seed=4"}), {"seed = 0", "now it is 4"});
}

TEST_F(BadInput, AStartThatFailedLeavesThePlaceFree) {
  std::filesystem::create_directories(place / "run");
  base::write_file_atomic(place / "run" / "config.yaml", "seed: 9\n");  // all that such a start leaves
  EXPECT_EQ(train(tiny_config()).status, 0);
}

TEST_F(BadInput, WrongCommandLines) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {}, {"trian"}, {"train", "--ops", "magic"}, {"bench"}, {"eval", "--what"}}) {
    const CommandResult result = incontext_with(arguments);
    EXPECT_EQ(result.status, 2);
    expect_one_line_error(result, {"--help"});
  }
  expect_one_line_error(incontext_with({"train"}), {"CONFIG"});
  expect_one_line_error(incontext_with({"eval"}), {"run directory"});
  expect_one_line_error(incontext_with({"eval", (place / "none").string()}), {"none"});
  expect_one_line_error(incontext_with({"report", (place / "none").string()}), {"none"});
  expect_one_line_error(train(tiny_config(), {"--device", "cuda:x"}), {"device", "cuda:x"});
  expect_one_line_error(train(tiny_config(), {"--set", "training.precision=tf32"}),
                        {"training.precision", "tf32", "expected f32 or bf16 on cpu"});
  expect_one_line_error(train(tiny_config(), {"--device", "gpu"}), {"device", "gpu"});
}

TEST_F(BadInput, DevicesThatLanguageModelsDoNotRunOn) {
  for (const char* command : {"generate", "chat"}) {
    const CommandResult result = incontext_with({command, "nowhere", "--device", "cuda"});
    EXPECT_NE(result.status, 0);
    EXPECT_CONTAINS(result.err, std::string(command) + ": --device: expected cpu, got 'cuda'");
  }
  EXPECT_CONTAINS(incontext_with({"serve", "nowhere", "--device", "cuda:0"}).err, "serve: --device: expected cpu");
}

TEST_F(BadInput, ADirectoryThatCannotBeMade) {
  expect_one_line_error(
      incontext_with({"train", write_text(place / "c.yaml", tiny_config()), "--out", "/proc/incontext/run", "--quiet"}),
      {"/proc/incontext"});
}

TEST_F(BadInput, AReadOnlyDirectory) {
  // A file where a directory is needed stops even root.
  write_text(place / "file", "");
  expect_one_line_error(incontext_with({"train", write_text(place / "c.yaml", tiny_config()), "--out",
                                        (place / "file" / "run").string(), "--quiet"}),
                        {"file", "Not a directory"});
  ASSERT_EQ(train(tiny_config()).status, 0);
  expect_one_line_error(incontext_with({"report", (place / "run").string(), "--out", "/proc/report.html"}),
                        {"/proc/report.html"});
}

TEST_F(BadInput, AFullDiskKeepsTheLastCheckpoint) {
  ASSERT_EQ(train(tiny_config()).status, 0);
  // A limit on file sizes meets the same code as a full disk: write(2) fails part of the way.
  const std::string config = (place / "config.yaml").string();
  const std::string run = (place / "run").string();
  const CommandResult result = run_command(
      {"bash", "-c", "ulimit -f 8; exec \"$0\" train \"$1\" --out \"$2\" --resume --quiet --set training.steps=40",
       program(), config, run});
  expect_one_line_error(result, {run, "too large"});
  EXPECT_TRUE(std::filesystem::exists(place / "run" / "checkpoint-000012" / "model.safetensors"));
  for (const auto& entry : std::filesystem::directory_iterator(place / "run")) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".partial")) << entry.path();
  }
  // With room again it goes on.
  EXPECT_EQ(incontext_with({"train", config, "--out", run, "--resume", "--quiet", "--set", "training.steps=40"}).status,
            0);
}

TEST_F(BadInput, ALossThatIsNoNumberStopsAndNamesTheStep) {
  const CommandResult result = train(tiny_config("  learning_rate: 1e30\n"));
  expect_one_line_error(result, {"stopped at step", "checkpoint-0000"});
}

}  // namespace
}  // namespace incontext::testing
