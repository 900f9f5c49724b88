#include "base/error.h"

#include <gtest/gtest.h>

namespace incontext::base {
namespace {

TEST(Error, IsOneLineWhateverItQuotes) {
  EXPECT_STREQ(Error("file: expected x, got 'a\n\x1B[2J\r\x7F'").what(), "file: expected x, got 'a  [2J  '");
  EXPECT_STREQ(Error("größer").what(), "größer");
}

}  // namespace
}  // namespace incontext::base
