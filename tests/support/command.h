#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace incontext::testing {

#ifdef INCONTEXT_SANITIZED
inline constexpr std::chrono::minutes kCommandTimeout{10};
#else
inline constexpr std::chrono::minutes kCommandTimeout{1};
#endif

struct CommandOptions {
  std::chrono::milliseconds timeout = kCommandTimeout;  // after it the command and its children are killed
  std::filesystem::path directory = {};                 // where it runs; empty: here
  std::map<std::string, std::optional<std::string>> environment = {};  // changes; nullopt takes the variable away

  /// Sends `signal` once, as soon as this says so. Asked whenever output has come and every few milliseconds, with
  /// all of stdout and stderr so far.
  std::function<bool(const std::string& out, const std::string& err)> signal_when = {};
  int signal = 0;
};

struct CommandResult {
  int status = 0;  // exit status; 128 + signal when a signal ended it, as shells tell it
  bool timed_out = false;
  bool signalled = false;  // whether signal_when came true
  std::string out;
  std::string err;
};

/// Runs a program (found on PATH) with these arguments, without a shell, with an empty stdin, and waits for it.
/// Throws std::system_error when it cannot be started.
CommandResult run_command(const std::vector<std::string>& command, const CommandOptions& options = {});

}  // namespace incontext::testing
