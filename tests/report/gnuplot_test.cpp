#include "report/gnuplot.h"

#include <cstdlib>

#include "base/text.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::report {
namespace {

using testing::error_of;

TEST(Gnuplot, ReturnsWhatItWrites) {
  EXPECT_EQ(run_gnuplot("set print '-'\nprint 6 * 7\n"), "42\n");
  // More than a pipe holds, in both directions.
  std::string script = "set print '-'\n";
  for (int line = 0; line < 20000; ++line) script += "print 'abcdefgh'\n";
  EXPECT_EQ(run_gnuplot(script).size(), 20000U * 9);
}

TEST(Gnuplot, AFaultyScriptIsAnErrorOfOneLine) {
  EXPECT_EQ(error_of([] { run_gnuplot("no such command\n"); }),
            "gnuplot: failed with status 1: line 0: invalid command");
}

TEST(Gnuplot, AMissingProgramIsAnErrorOfOneLine) {
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", "/nonexistent", 1);
  const std::string message = error_of([] { run_gnuplot("print 1\n"); });
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(message,
            "plots need gnuplot, which could not be started (No such file or directory); install it (Debian: "
            "gnuplot-nox)");
}

TEST(Gnuplot, AProgramThatDiesIsAnError) {
  const testing::TemporaryDirectory directory;
  const std::string fake = (directory / "gnuplot").string();
  std::FILE* file = std::fopen(fake.c_str(), "w");
  std::fputs("#!/bin/sh\nkill -9 $$\n", file);
  std::fclose(file);
  std::filesystem::permissions(fake, std::filesystem::perms::owner_all);
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", (directory.path().string() + ":" + path).c_str(), 1);
  const std::string message = error_of([] { run_gnuplot("print 1\n"); });
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(message, "gnuplot: was ended by signal 9");
}

}  // namespace
}  // namespace incontext::report
