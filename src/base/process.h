#pragma once

#include <filesystem>
#include <optional>
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

/// The part of this program with that file name: beside its executable, as a build leaves it, or in ../lib/incontext of
/// an installation.
std::optional<std::filesystem::path> find_program_part(const std::string& name);

/// Goes on as another program, with the arguments, the environment, the open files and the number of this process. One
/// that cannot be started is an Error.
[[noreturn]] void become_program(const std::filesystem::path& program, char** arguments);

}  // namespace incontext::base
