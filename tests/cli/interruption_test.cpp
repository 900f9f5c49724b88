// Runs that end before their time: by Ctrl-C, twice by Ctrl-C, by SIGTERM, by SIGKILL. Resumed, they give the numbers
// of a run that was left alone.

#include <fmt/format.h>

#include <csignal>

#include "cli/program.h"

namespace incontext::testing {
namespace {

namespace fs = std::filesystem;

const std::string kConfig = tiny_config("  evaluate_every: 0\n");
const std::vector<std::string> kSteps = {"--set", "training.steps=400", "--set", "training.checkpoint_every=50"};

std::vector<std::string> losses(const fs::path& run) {
  std::vector<std::string> lines;
  for (const base::Record& record : base::read_records(run / "records.jsonl")) {
    lines.push_back(fmt::format("{} {} {:.17g}", record.what, record.setting["step"].dump(), record.value));
  }
  return lines;
}

class Interruption : public ::testing::TestWithParam<int> {
 protected:
  TemporaryDirectory place;
  std::string config = write_text(place / "config.yaml", kConfig);

  CommandResult train(const std::string& name, const CommandOptions& options = {}, bool resume = false) {
    std::vector<std::string> arguments = {"train", config, "--out", (place / name).string(), "--quiet"};
    arguments.insert(arguments.end(), kSteps.begin(), kSteps.end());
    if (resume) arguments.emplace_back("--resume");
    return incontext_with(arguments, options);
  }
};

TEST_P(Interruption, ResumesBitForBit) {
  ASSERT_EQ(train("whole").status, 0);
  const fs::path run = place / "cut";
  // After the first checkpoint, somewhere before the next.
  const CommandResult cut = train(
      "cut",
      {.signal_when = [&](const std::string&, const std::string&) { return fs::exists(run / "checkpoint-000050"); },
       .signal = GetParam()});
  ASSERT_TRUE(cut.signalled);
  EXPECT_EQ(cut.status, 128 + GetParam());
  if (GetParam() != SIGKILL) {
    EXPECT_NE(cut.out.find("--resume"), std::string::npos) << cut.out;
  }
  const CommandResult rest = train("cut", {}, /*resume=*/true);
  ASSERT_EQ(rest.status, 0) << rest.err;
  EXPECT_EQ(losses(run), losses(place / "whole"));
}

INSTANTIATE_TEST_SUITE_P(Signals, Interruption, ::testing::Values(SIGINT, SIGTERM, SIGKILL));

TEST(InterruptionTwice, EndsAtOnceAndLosesNothing) {
  const TemporaryDirectory place;
  const std::string config = write_text(place / "config.yaml",
                                        "model: {width: 128, layers: 4, attention: {heads: 4}}\ntraining: {steps: 100, "
                                        "batch_size: 128, checkpoint_every: 1}\n");
  // Steps take long enough that the second signal comes before the first has had its effect.
  const CommandResult result = run_command({"bash", "-c",
                                            "\"$0\" train \"$1\" --out \"$2\" --quiet & pid=$!\n"
                                            "while [ ! -e \"$2/checkpoint-000001\" ]; do sleep 0.05; done\n"
                                            "kill -TERM $pid; sleep 0.05; kill -TERM $pid; wait $pid",
                                            program(), config, (place / "run").string()});
  EXPECT_EQ(result.status, 128 + SIGTERM);
  EXPECT_NE(result.err.find("stopping after this step"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("stopped at once"), std::string::npos) << result.err;
  const CommandResult resumed =
      incontext_with({"train", config, "--out", (place / "run").string(), "--resume", "--quiet", "--set",
                      "training.steps=3", "--set", "training.evaluate_prompts=1", "--json"});
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_GE(base::Json::parse(resumed.out)["resumed_from"].get<int>(), 1);
}

}  // namespace
}  // namespace incontext::testing
