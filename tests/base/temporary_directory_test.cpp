#include "base/temporary_directory.h"

#include <gtest/gtest.h>

#include <fstream>

namespace incontext::base {
namespace {

namespace fs = std::filesystem;

TEST(TemporaryDirectory, IsEmptyAndItsOwn) {
  const TemporaryDirectory first;
  const TemporaryDirectory second;
  EXPECT_NE(first.path(), second.path());
  EXPECT_TRUE(fs::is_directory(first.path()));
  EXPECT_TRUE(fs::is_empty(first.path()));
}

TEST(TemporaryDirectory, GoesWithAllItHolds) {
  fs::path path;
  {
    const TemporaryDirectory directory;
    path = directory.path();
    fs::create_directories(directory / "a/b");
    std::ofstream(directory / "a/b/file") << "text";
    ASSERT_TRUE(fs::exists(path / "a/b/file"));
  }
  EXPECT_FALSE(fs::exists(path));
}

}  // namespace
}  // namespace incontext::base
