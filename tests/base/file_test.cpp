#include "base/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>

#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::base {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::TemporaryDirectory;

size_t entries_in(const fs::path& directory) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

TEST(File, ReadsBackWhatWasWritten) {
  const TemporaryDirectory directory;
  const std::string bytes("a\0b\nc", 5);
  write_file_atomic(directory / "x", bytes);
  EXPECT_EQ(read_file(directory / "x"), bytes);
  write_file_atomic(directory / "x", "");
  EXPECT_EQ(read_file(directory / "x"), "");
  const std::string large(300000, 'q');
  write_file_atomic(directory / "x", large);
  EXPECT_EQ(read_file(directory / "x"), large);
  EXPECT_EQ(entries_in(directory.path()), 1U);
}

TEST(File, NothingIsLeftWithoutCommit) {
  const TemporaryDirectory directory;
  write_file_atomic(directory / "x", "old");
  {
    AtomicFile file(directory / "x");
    file.write("new");
  }
  EXPECT_EQ(read_file(directory / "x"), "old");
  EXPECT_EQ(entries_in(directory.path()), 1U);
}

TEST(File, NewFilesObeyTheMask) {
  const TemporaryDirectory directory;
  const mode_t before = ::umask(027);
  write_file_atomic(directory / "x", "text");
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat((directory / "x").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640U);
}

TEST(File, AFileSystemThatFillsUpIsAnErrorAndLeavesTheOldFile) {
  const TemporaryDirectory directory;
  write_file_atomic(directory / "x", "old");
  // A limit on file sizes ends a write as a full disk does. In a child, as the limit cannot be raised again.
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit { 1000, 1000 };
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string message = error_of([&] { write_file_atomic(directory / "x", std::string(5000, 'x')); });
    const bool told = message.find("cannot write: File too large") != std::string::npos;
    ::_exit(told && read_file(directory / "x") == "old" && entries_in(directory.path()) == 1 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(File, AFullDiskIsAnError) {
  EXPECT_EQ(error_of([] { AppendFile("/dev/full").append("x"); }), "/dev/full: cannot write: No space left on device");
}

TEST(File, PathsThatCannotBeWrittenAreErrors) {
  const TemporaryDirectory directory;
  EXPECT_CONTAINS(error_of([&] { write_file_atomic(directory / "no/x", "t"); }), "cannot create: No such file");
  write_file_atomic(directory / "file", "t");
  EXPECT_CONTAINS(error_of([&] { write_file_atomic(directory / "file/x", "t"); }), "cannot create: Not a directory");
  EXPECT_CONTAINS(error_of([&] { make_directories(directory / "file/x"); }), "cannot make the directory");
  make_directories(directory / "full/inner");
  EXPECT_CONTAINS(error_of([&] { write_file_atomic(directory / "full", "t"); }), "cannot rename into place");
  EXPECT_EQ(entries_in(directory.path()), 2U) << "the temporary file is gone";
  EXPECT_CONTAINS(error_of([] { write_file_atomic("/proc/incontext", "t"); }), "/proc/incontext: cannot create");
}

TEST(File, AReadOnlyDirectoryIsAnError) {
  const TemporaryDirectory directory;
  make_directories(directory / "sealed");
  ::chmod((directory / "sealed").c_str(), 0555);
  ::chmod(directory.path().c_str(), 0755);
  const pid_t child = ::fork();
  if (child == 0) {
    // The superuser may write anywhere, so become nobody.
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(2);
    const std::string message = error_of([&] { write_file_atomic(directory / "sealed/x", "t"); });
    ::_exit(message.find("sealed/x: cannot create: Permission denied") != std::string::npos ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(File, MissingFilesAndDirectoriesInTheirPlaceAreErrors) {
  const TemporaryDirectory directory;
  EXPECT_EQ(error_of([&] { read_file(directory / "gone"); }),
            (directory / "gone").string() + ": cannot open: No such file or directory");
  EXPECT_CONTAINS(error_of([&] { read_file(directory.path()); }), "cannot read: Is a directory");
  EXPECT_CONTAINS(error_of([&] { MappedFile(directory / "gone"); }), "cannot open");
  EXPECT_CONTAINS(error_of([&] { MappedFile(directory.path()); }), "expected a regular file");
  EXPECT_CONTAINS(error_of([&] { AppendFile(directory / "gone/x"); }), "cannot open for appending");
}

TEST(File, MapsWholeFiles) {
  const TemporaryDirectory directory;
  write_file_atomic(directory / "x", "mapped");
  const MappedFile mapped(directory / "x");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size()), "mapped");
  write_file_atomic(directory / "empty", "");
  EXPECT_TRUE(MappedFile(directory / "empty").bytes().empty());
}

TEST(File, AppendsAndTruncates) {
  const TemporaryDirectory directory;
  {
    AppendFile file(directory / "log");
    file.append("one\n");
    EXPECT_EQ(file.size(), 4U);
  }
  {
    AppendFile file(directory / "log");
    EXPECT_EQ(file.size(), 4U);
    file.append("two\n");
    file.sync();
    truncate_file(directory / "log", 4);
    file.append("three\n");
  }
  EXPECT_EQ(read_file(directory / "log"), "one\nthree\n");
  EXPECT_CONTAINS(error_of([&] { truncate_file(directory / "log", 100); }), "expected at least 100 bytes, got 10");
  EXPECT_EQ(read_file(directory / "log").size(), 10U);
  EXPECT_CONTAINS(error_of([&] { truncate_file(directory / "gone", 0); }), "cannot truncate");
}

TEST(File, MakesDirectories) {
  const TemporaryDirectory directory;
  make_directories(directory / "a/b/c");
  make_directories(directory / "a/b/c");
  make_directories(fs::path("plain_name").parent_path());
  EXPECT_TRUE(fs::is_directory(directory / "a/b/c"));
}

TEST(File, HiddenNamesBeginWithADot) {
  EXPECT_TRUE(is_hidden("folder/.name.txt"));
  EXPECT_TRUE(is_hidden("._name.txt"));
  EXPECT_FALSE(is_hidden(".folder/name.txt"));
  EXPECT_FALSE(is_hidden("name.txt"));
}

}  // namespace
}  // namespace incontext::base
