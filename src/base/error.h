#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace incontext::base {

/// A mistake of the caller or of the world (bad input, missing file, full disk), told in one line:
/// "where: what was expected, what came". The command line prints it and exits with status 1. Messages quote files and
/// requests, which may hold anything: control characters become spaces.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message);
};

/// Throws Error with a formatted message.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws Error unless `condition` holds.
template <class... Args>
void check(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Reports a fault of our own and aborts.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace incontext::base

/// Always on: states what our own code guarantees. For the caller's mistakes use check().
#define INCONTEXT_ASSERT(condition)                                                        \
  do {                                                                                     \
    if (!(condition)) ::incontext::base::assertion_failed(#condition, __FILE__, __LINE__); \
  } while (false)
