#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace incontext::base {

struct ProcessResult {
  int exit_status = 0;  // 128 + the signal's number when a signal ended it
  std::string output;   // standard output
  std::string errors;   // standard error
};

/// Runs a program (looked up in PATH, no shell) with `input` on its standard input and waits for it. A program that
/// cannot be started is an Error; one that fails is not.
ProcessResult run_process(const std::vector<std::string>& arguments, std::string_view input = {});

}  // namespace incontext::base
