#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <utility>

#include "base/file.h"
#include "hub/download.h"
#include "hub/fake_hub.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::hub {
namespace {

namespace fs = std::filesystem;
using incontext::testing::error_of;
using incontext::testing::TemporaryDirectory;
using testing::FakeHub;
using testing::FakeRequest;
using Ranges = std::vector<std::string>;

class ResumeTest : public ::testing::Test {
 protected:
  DownloadOptions options() const { return hub_.options(cache_.path()); }
  fs::path download(const DownloadOptions& options) const {
    return download_model({.repository = "org/tiny"}, options);
  }
  fs::path download() const { return download(options()); }

  // What the storage server was asked for.
  Ranges ranges() const {
    Ranges out;
    for (const FakeRequest& request : hub_.requests()) {
      if (request.storage) out.push_back(request.range);
    }
    return out;
  }
  fs::path blobs() const { return cache_.path() / "models--org--tiny/blobs"; }
  fs::path incomplete() const { return blobs() / (hub_.etag_of("model.safetensors") + ".incomplete"); }
  const std::string& weights() const { return hub_.files.at("model.safetensors").content; }
  void leave_incomplete(const std::string& bytes) const {
    base::make_directories(blobs());
    base::write_file_atomic(incomplete(), bytes);
  }
  void expect_whole(const fs::path& snapshot) const {
    EXPECT_EQ(base::read_file(snapshot / "model.safetensors"), weights());
    EXPECT_FALSE(fs::exists(incomplete()));
  }

  TemporaryDirectory cache_;
  FakeHub hub_;
};

TEST_F(ResumeTest, ADroppedConnectionContinuesWhereItBroke) {
  hub_.drops = {50'000, 30'000};
  expect_whole(download());
  EXPECT_EQ(ranges(), (Ranges{"", "bytes=50000-", "bytes=80000-"}));
}

TEST_F(ResumeTest, AConnectionThatMovesForwardIsNotGivenUp) {
  hub_.drops = {10, 10, 10, 10, 10, 10, 10};
  expect_whole(download());
}

TEST_F(ResumeTest, AConnectionThatStaysBrokenIsAnErrorAndTheNextRunContinues) {
  hub_.drops = {70'000, 0, 0, 0};
  const std::string message = error_of([&] { download(); });
  EXPECT_CONTAINS(message, "/store/model.safetensors");
  EXPECT_EQ(message.find("secret"), std::string::npos) << "the query of a stored file is a secret";
  EXPECT_EQ(fs::file_size(incomplete()), 70'000U);
  hub_.drops.clear();
  expect_whole(download());
  EXPECT_EQ(ranges().back(), "bytes=70000-");
}

TEST_F(ResumeTest, AWholePartNeedsNoRequest) {
  leave_incomplete(weights());
  expect_whole(download());
  EXPECT_EQ(ranges(), Ranges{});
}

TEST_F(ResumeTest, ADamagedPartIsFetchedAgain) {
  leave_incomplete(std::string(1000, '?'));
  expect_whole(download());
  EXPECT_EQ(ranges(), (Ranges{"bytes=1000-", ""}));
}

TEST_F(ResumeTest, APartLongerThanTheFileIsDropped) {
  hub_.files["model.safetensors"].etag = "no-digest";  // which would tell, too
  leave_incomplete(std::string(300'000, '?'));
  expect_whole(download());
  EXPECT_EQ(ranges(), Ranges{""});
}

TEST_F(ResumeTest, AServerWithoutRangesSendsAllOfIt) {
  hub_.ranges = false;
  hub_.drops = {50'000};
  expect_whole(download());
  EXPECT_EQ(ranges(), (Ranges{"", "bytes=50000-"}));
}

TEST_F(ResumeTest, AStopRequestKeepsWhatCame) {
  hub_.storage_delay_ms = 50;
  DownloadOptions stopping = options();
  stopping.stop_requested = [&] { return fs::exists(incomplete()) && fs::file_size(incomplete()) > 20'000; };
  EXPECT_EQ(error_of([&] { download(stopping); }),
            "stopped as asked; what has come so far is kept, and the same command continues");
  const uintmax_t kept = fs::file_size(incomplete());
  EXPECT_GT(kept, 20'000U);
  EXPECT_LT(kept, weights().size());
  hub_.storage_delay_ms = 0;
  expect_whole(download());
  EXPECT_EQ(ranges().back(), "bytes=" + std::to_string(kept) + "-");
}

TEST_F(ResumeTest, ASilentServerIsGivenUp) {
  hub_.storage_delay_ms = 5000;
  DownloadOptions impatient = options();
  impatient.environment.download_timeout = std::chrono::milliseconds(300);
  impatient.retry.attempts = 1;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_CONTAINS(error_of([&] { download(impatient); }), "/store/model.safetensors: no answer for 0.3 s");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(4));
  hub_.storage_delay_ms = 0;
}

// A process that downloads on request. It is forked before the servers have threads: the child of a process with
// threads may find locks taken, by threads that it does not have, forever.
class DownloadProcess {
 protected:
  DownloadProcess() {
    int request[2] = {}, answer[2] = {};
    if (::pipe(request) != 0 || ::pipe(answer) != 0) throw std::runtime_error("no pipe");
    process_ = ::fork();
    if (process_ == 0) {
      ::close(request[1]);
      ::close(answer[0]);
      serve(::fdopen(request[0], "r"), answer[1]);
      ::_exit(0);
    }
    ::close(request[0]);
    ::close(answer[1]);
    request_ = request[1];
    answer_ = ::fdopen(answer[0], "r");
  }
  ~DownloadProcess() {
    if (process_ > 0) ::kill(process_, SIGKILL);
    if (process_ > 0) wait();
    if (request_ >= 0) ::close(request_);
    std::fclose(answer_);
  }
  DownloadProcess(const DownloadProcess&) = delete;
  DownloadProcess& operator=(const DownloadProcess&) = delete;

  pid_t process() const { return process_; }

  /// Begins a download. With a limit on the size of files a write ends as on a full disk.
  void begin(const DownloadOptions& options, rlim_t largest_file = RLIM_INFINITY) {
    const std::string text =
        fmt::format("{}\n{}\n{}\n", options.environment.endpoint, options.environment.cache.string(), largest_file);
    EXPECT_EQ(::write(request_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    ::close(std::exchange(request_, -1));
  }

  /// The error that it ended with, or "no error".
  std::string answer() const { return read_line(answer_); }

  int wait() {
    int status = -1;
    EXPECT_EQ(::waitpid(process_, &status, 0), process_);
    process_ = 0;
    return status;
  }

 private:
  static std::string read_line(std::FILE* from) {
    std::string line;
    for (int c = std::fgetc(from); c != EOF && c != '\n'; c = std::fgetc(from)) line += static_cast<char>(c);
    return line;
  }

  static void serve(std::FILE* request, int answer) {
    const std::string endpoint = read_line(request), cache = read_line(request), largest = read_line(request);
    if (largest.empty()) return;
    ::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit { std::stoul(largest), std::stoul(largest) };
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string message =
        error_of([&] { download_model({.repository = "org/tiny"}, FakeHub::options_for(endpoint, cache)); });
    static_cast<void>(!::write(answer, message.data(), message.size()));
  }

  pid_t process_ = 0;
  int request_ = -1;
  std::FILE* answer_ = nullptr;
};

class ResumeInChildTest : protected DownloadProcess, public ResumeTest {};

TEST_F(ResumeInChildTest, AKilledProcessLeavesAPartAndNoLock) {
  hub_.storage_delay_ms = 50;
  begin(options());
  while (!fs::exists(incomplete()) || fs::file_size(incomplete()) < 20'000) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ::kill(process(), SIGTERM);
  EXPECT_TRUE(WIFSIGNALED(wait()));
  const uintmax_t kept = fs::file_size(incomplete());
  hub_.storage_delay_ms = 0;
  expect_whole(download());
  EXPECT_EQ(ranges().back(), "bytes=" + std::to_string(kept) + "-");
}

TEST_F(ResumeInChildTest, AFileSystemThatFillsUpIsAnErrorAndKeepsWhatCame) {
  begin(options(), 100'000);
  const std::string message = answer();
  EXPECT_CONTAINS(message, ".incomplete: cannot write: File too large; ");
  EXPECT_CONTAINS(message, "of 195.3 KiB are kept, and the same command continues once this is mended");
  EXPECT_EQ(wait(), 0);
  EXPECT_GT(fs::file_size(incomplete()), 50'000U);
  expect_whole(download());
}

}  // namespace
}  // namespace incontext::hub
