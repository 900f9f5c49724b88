#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/config_node.h"
#include "base/record.h"
#include "support/command.h"
#include "support/temporary_directory.h"

namespace incontext::testing {

inline std::string program() { return std::string(INCONTEXT_BINARY_DIR) + "/incontext"; }

inline CommandResult incontext_with(const std::vector<std::string>& arguments, const CommandOptions& options = {}) {
  std::vector<std::string> command{program()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run_command(command, options);
}

/// A run that takes milliseconds per step.
inline std::string tiny_config(const std::string& more = "") {
  return "task: {dims: 3}\n"
         "model: {width: 16, layers: 1, attention: {heads: 2}}\n"
         "training:\n"
         "  steps: 12\n"
         "  batch_size: 8\n"
         "  log_every: 1\n"
         "  checkpoint_every: 4\n"
         "  evaluate_prompts: 8\n" +
         more;
}

inline std::string write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path) << text;
  return path.string();
}

/// One line on stderr that starts with the program's name and contains `words`, nothing on stdout, a non-zero status.
inline void expect_one_line_error(const CommandResult& result, const std::vector<std::string>& words) {
  EXPECT_NE(result.status, 0);
  EXPECT_LT(result.status, 128) << "ended by a signal";
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_EQ(result.err.find("incontext: "), 0u) << result.err;
  for (const std::string& word : words) EXPECT_NE(result.err.find(word), std::string::npos) << result.err;
}

}  // namespace incontext::testing
