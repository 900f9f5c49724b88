#pragma once

#include <gtest/gtest.h>

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

}  // namespace incontext::testing

/// Expects that a text holds a part, and shows the start of the text if it does not.
#define EXPECT_CONTAINS(text, part)                       \
  EXPECT_TRUE(::incontext::testing::contains(text, part)) \
      << "expected '" << (part) << "' in: " << std::string(text).substr(0, 1500)
