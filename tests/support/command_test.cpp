#include "support/command.h"

#include <gtest/gtest.h>

#include <csignal>
#include <system_error>

#include "support/temporary_directory.h"

namespace incontext::testing {
namespace {

using namespace std::chrono_literals;

CommandResult shell(const std::string& script, const CommandOptions& options = {}) {
  return run_command({"sh", "-c", script}, options);
}

TEST(Command, GivesBothStreamsAndTheStatus) {
  const CommandResult result = shell("echo one; echo two >&2; exit 3");
  EXPECT_EQ(result.out, "one\n");
  EXPECT_EQ(result.err, "two\n");
  EXPECT_EQ(result.status, 3);
  EXPECT_FALSE(result.timed_out);
  EXPECT_FALSE(result.signalled);
}

TEST(Command, PassesArgumentsAsTheyAre) {
  const std::string awkward = "$HOME; 'a' \"b\" * \n";
  EXPECT_EQ(run_command({"printf", "%s|%s", awkward, ""}).out, awkward + "|");
}

TEST(Command, ReadsMoreThanAPipeHolds) {
  const CommandResult result = shell("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2");
  EXPECT_EQ(result.out.size(), 1000000u);
  EXPECT_EQ(result.err.size(), 1000000u);
}

TEST(Command, HasAnEmptyStdin) { EXPECT_EQ(run_command({"cat"}, {.timeout = 10s}).status, 0); }

TEST(Command, ChangesTheEnvironment) {
  ::setenv("INCONTEXT_TEST_OLD", "old", 1);
  const std::string script = "echo ${INCONTEXT_TEST_OLD-gone} ${INCONTEXT_TEST_NEW-none}";
  CommandOptions options;
  EXPECT_EQ(shell(script, options).out, "old none\n");
  options.environment = {{"INCONTEXT_TEST_OLD", std::nullopt}, {"INCONTEXT_TEST_NEW", "new"}};
  EXPECT_EQ(shell(script, options).out, "gone new\n");
  options.environment = {{"INCONTEXT_TEST_OLD", "other"}};
  EXPECT_EQ(shell(script, options).out, "other none\n");
}

TEST(Command, RunsInTheDirectory) {
  const TemporaryDirectory directory;
  CommandOptions options;
  options.directory = directory.path();
  EXPECT_EQ(shell("pwd -P", options).out, std::filesystem::canonical(directory.path()).string() + "\n");
}

TEST(Command, EndsWithItsChildrenAtTheTimeout) {
  // The background sleep holds stdout open: without killing the group this would take its 30 seconds.
  const auto start = std::chrono::steady_clock::now();
  const CommandResult result = shell("sleep 30 & echo started; sleep 30", {.timeout = 200ms});
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.status, 128 + SIGKILL);
  EXPECT_EQ(result.out, "started\n");
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
}

TEST(Command, SendsTheSignalWhenTheConditionHolds) {
  CommandOptions options;
  options.timeout = 20s;
  options.signal = SIGINT;
  options.signal_when = [](const std::string& out, const std::string&) { return out.find("ready") != out.npos; };
  const CommandResult result =
      shell("trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.01; done", options);
  EXPECT_TRUE(result.signalled);
  EXPECT_EQ(result.out, "ready\ncaught\n");
  EXPECT_EQ(result.status, 7);

  EXPECT_EQ(shell("echo ready; exec sleep 20", options).status, 128 + SIGINT);
  const CommandResult unasked = shell("echo not yet", options);
  EXPECT_FALSE(unasked.signalled);
  EXPECT_EQ(unasked.status, 0);
}

TEST(Command, SaysWhenAProgramIsNotThere) { EXPECT_THROW(run_command({"/no/such/program"}), std::system_error); }

}  // namespace
}  // namespace incontext::testing
