#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/error.h"

namespace incontext::testing {

/// The message of the base::Error that `work` throws, or "no error".
template <class Work>
std::string error_of(const Work& work) {
  try {
    work();
  } catch (const base::Error& error) {
    return error.what();
  }
  return "no error";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A directory that is gone at the end of the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "incontext-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) base::fail("{}: cannot make a temporary directory", pattern);
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace incontext::testing

/// Expects that a text holds a part, and shows the start of the text if it does not.
#define EXPECT_CONTAINS(text, part)                       \
  EXPECT_TRUE(::incontext::testing::contains(text, part)) \
      << "expected '" << (part) << "' in: " << std::string(text).substr(0, 1500)
