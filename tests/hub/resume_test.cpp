#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

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

// In children, as libcurl and the servers' threads do not go together with a signal to this process.
class ResumeInChildTest : public ResumeTest {
 protected:
  template <class Work>
  static pid_t fork_into(const Work& work) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(work() ? 0 : 1);
    return child;
  }
  static int status_of(pid_t child) {
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  }
};

TEST_F(ResumeInChildTest, AKilledProcessLeavesAPartAndNoLock) {
  hub_.storage_delay_ms = 50;
  const pid_t child = fork_into([&] { return error_of([&] { download(); }) == "no error"; });
  while (!fs::exists(incomplete()) || fs::file_size(incomplete()) < 20'000) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ::kill(child, SIGTERM);
  EXPECT_TRUE(WIFSIGNALED(status_of(child)));
  const uintmax_t kept = fs::file_size(incomplete());
  hub_.storage_delay_ms = 0;
  expect_whole(download());
  EXPECT_EQ(ranges().back(), "bytes=" + std::to_string(kept) + "-");
}

TEST_F(ResumeInChildTest, AFileSystemThatFillsUpIsAnErrorAndKeepsWhatCame) {
  // A limit on file sizes ends a write as a full disk does, and cannot be raised again.
  const pid_t child = fork_into([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit { 100'000, 100'000 };
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string message = error_of([&] { download(); });
    return message.find(".incomplete: cannot write: File too large; ") != std::string::npos &&
           message.find("of 195.3 KiB are kept, and the same command continues once this is mended") !=
               std::string::npos;
  });
  EXPECT_EQ(status_of(child), 0);
  EXPECT_GT(fs::file_size(incomplete()), 50'000U);
  expect_whole(download());
}

}  // namespace
}  // namespace incontext::hub
