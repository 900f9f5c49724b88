// `incontext` starts without libtorch, and becomes incontext-compute only for commands that compute.

#include <sys/resource.h>

#include <algorithm>

#include "base/file.h"
#include "cli/program.h"

namespace incontext::testing {
namespace {

namespace fs = std::filesystem;

const std::vector<std::vector<std::string>> kAllCommands = {
    {},        {"train"},    {"eval"},  {"report"},         {"generate"},       {"chat"},
    {"serve"}, {"tokenize"}, {"bench"}, {"bench", "train"}, {"bench", "decode"}};

// What the loader of dynamic libraries would load for a program.
std::string libraries_of(const std::string& program) {
  return run_command({program}, {.environment = {{"LD_TRACE_LOADED_OBJECTS", "1"}}}).out;
}

CommandResult run_at(const fs::path& program, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program.string());
  return run_command(arguments);
}

TEST(Start, TorchIsInTheOtherProgramAlone) {
  EXPECT_NE(libraries_of(program()).find("libstdc++"), std::string::npos);
  EXPECT_EQ(libraries_of(program()).find("torch"), std::string::npos);
  EXPECT_NE(libraries_of(program() + "-compute").find("libtorch"), std::string::npos);
}

TEST(Start, HelpAndListsNeedNoOtherProgram) {
  const TemporaryDirectory place;
  fs::copy(program(), place / "incontext");
  std::vector<std::vector<std::string>> commands = {
      {"--version"},
      {"train", "--list-options"},
      {"eval", "--list-options"},
      {"tokenize", std::string(INCONTEXT_SOURCE_DIR) + "/tests/golden/text/tokenizers/gpt2", "--text", "hello"}};
  for (std::vector<std::string> command : kAllCommands) {
    command.emplace_back("--help");
    commands.push_back(std::move(command));
  }
  for (const std::vector<std::string>& command : commands) {
    SCOPED_TRACE(command.front());
    const CommandResult alone = run_at(place / "incontext", command);
    EXPECT_EQ(alone.status, 0) << alone.err;
    EXPECT_NE(alone.out, "");
    EXPECT_EQ(alone.err, "");
  }
  expect_one_line_error(run_at(place / "incontext", {"train", "x.yaml", "--out", "x"}),
                        {"incontext-compute is neither beside this one nor in ../lib/incontext"});
}

TEST(Start, BothProgramsPrintTheSameHelp) {
  const auto usage_apart = [](std::string text) {  // it holds the program's own name
    const size_t usage = text.find("Usage:");
    return usage == std::string::npos ? text : text.erase(usage, text.find('\n', usage) - usage);
  };
  for (std::vector<std::string> command : kAllCommands) {
    command.emplace_back("--help");
    EXPECT_EQ(usage_apart(run_at(program(), command).out), usage_apart(run_at(program() + "-compute", command).out));
  }
}

TEST(Start, FindsTheOtherProgramWhereItIsInstalled) {
  const TemporaryDirectory prefix;
  fs::create_directories(prefix / "bin");
  fs::create_directories(prefix / "lib/incontext");
  fs::copy(program(), prefix / "bin/incontext");
  fs::copy(program() + "-compute", prefix / "lib/incontext/incontext-compute");
  fs::create_symlink(prefix / "bin/incontext", prefix / "link");
  for (const fs::path& place : {prefix / "bin/incontext", prefix / "link"}) {
    expect_one_line_error(run_at(place, {"eval", "no/such/run"}), {"no/such/run: no such directory"});
  }
}

TEST(Start, ArgumentsInputAndStatusPassThrough) {
  expect_one_line_error(incontext_with({"generate", "no such 'model'", "--prompt", ""}), {"no such 'model'"});
  EXPECT_EQ(incontext_with({"train", "--ops", "magic"}).status, 2);
  EXPECT_EQ(incontext_with({"eval", "no/such/run"}).status, 1);
}

#ifndef INCONTEXT_SANITIZED
// Of the processor, because other tests run beside this one.
double seconds_of_processor(const std::vector<std::string>& arguments) {
  const auto spent = [] {
    struct rusage usage {};
    ::getrusage(RUSAGE_CHILDREN, &usage);
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
  };
  double least = 1e9;
  for (int i = 0; i < 5; ++i) {
    const double before = spent();
    incontext_with(arguments);
    least = std::min(least, spent() - before);
  }
  return least;
}

TEST(Start, TakesLessThanATenthOfASecond) {
  EXPECT_LT(seconds_of_processor({"--version"}), 0.1);
  EXPECT_LT(seconds_of_processor({"train", "--list-options"}), 0.1);
  EXPECT_LT(seconds_of_processor({"report", "no/such/run"}), 0.1);
}
#endif

}  // namespace
}  // namespace incontext::testing
