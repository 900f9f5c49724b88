#include <gtest/gtest.h>

#include <filesystem>

#include "support/command.h"
#include "support/temporary_directory.h"

namespace incontext::testing {
namespace {

namespace fs = std::filesystem;

const std::string kProgram = std::string(INCONTEXT_BINARY_DIR) + "/tests/test_support_main";

TEST(Main, RunsTheTestsOfTheFileItIsNamedAfter) {
  const std::string listed = run_command({kProgram, "--gtest_list_tests"}).out;
  EXPECT_NE(listed.find("Main."), std::string::npos) << listed;
  EXPECT_EQ(listed.find("Command."), std::string::npos) << listed;
}

TEST(Main, KeepsToTheFilterOfTheCommandLine) {
  const std::string some = run_command({kProgram, "--gtest_list_tests", "--gtest_filter=*Filter*:*Pipe*"}).out;
  EXPECT_NE(some.find("KeepsToTheFilterOfTheCommandLine"), std::string::npos) << some;
  EXPECT_EQ(some.find("RunsTheTests"), std::string::npos) << some;
  EXPECT_EQ(some.find("Pipe"), std::string::npos) << "that of another file: " << some;
  const std::string others = run_command({kProgram, "--gtest_list_tests", "--gtest_filter=-*Filter*"}).out;
  EXPECT_EQ(others.find("KeepsToTheFilter"), std::string::npos) << others;
  EXPECT_NE(others.find("RunsTheTests"), std::string::npos) << others;
  EXPECT_EQ(others.find("Command."), std::string::npos) << others;
}

TEST(Main, RefusesTheNameOfNoFile) {
  const TemporaryDirectory directory;
  fs::create_symlink(fs::canonical(kProgram), directory / "test_support_gone");
  const CommandResult result = run_command({(directory / "test_support_gone").string()});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err, "test_support_gone: no test comes from a file of this name\n");
}

}  // namespace
}  // namespace incontext::testing
