#include "base/signals.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace incontext::base {
namespace {

// Forks a child that works until it is asked to stop, and which then, if `stubborn`, goes on. Sends the signals,
// each after the one before has been seen, and returns the wait status.
int status_after(std::initializer_list<int> signals, bool stubborn) {
  int channel[2];
  if (::pipe(channel) != 0) return -1;
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);
    ::dup2(::open("/dev/null", 1), STDERR_FILENO);
    const StopRequest stop("stopping");
    [[maybe_unused]] ssize_t ignored = ::write(channel[1], "r", 1);  // ready
    while (!stop.requested()) ::usleep(1000);
    ignored = ::write(channel[1], "s", 1);  // seen
    while (stubborn) ::usleep(1000);
    ::_exit(stop.exit_status());
  }
  char byte = 0;
  for (const int signal : signals) {
    if (::read(channel[0], &byte, 1) != 1) return -1;
    ::kill(child, signal);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  ::close(channel[0]);
  ::close(channel[1]);
  return status;
}

TEST(Signals, OneSignalAsksToStop) {
  const int terminated = status_after({SIGTERM}, false);
  ASSERT_TRUE(WIFEXITED(terminated));
  EXPECT_EQ(WEXITSTATUS(terminated), 143);
  const int interrupted = status_after({SIGINT}, false);
  ASSERT_TRUE(WIFEXITED(interrupted));
  EXPECT_EQ(WEXITSTATUS(interrupted), 130);
}

TEST(Signals, ASecondSignalEndsAtOnce) {
  const int terminated = status_after({SIGTERM, SIGTERM}, true);
  ASSERT_TRUE(WIFEXITED(terminated));
  EXPECT_EQ(WEXITSTATUS(terminated), 143);
  const int interrupted = status_after({SIGTERM, SIGINT}, true);
  ASSERT_TRUE(WIFEXITED(interrupted));
  EXPECT_EQ(WEXITSTATUS(interrupted), 130) << "the status tells the last signal";
}

TEST(Signals, TheDefaultComesBackAfterwards) {
  struct sigaction before {};
  ::sigaction(SIGTERM, nullptr, &before);
  {
    const StopRequest stop("stopping");
    EXPECT_FALSE(stop.requested());
    EXPECT_EQ(stop.exit_status(), 0);
    struct sigaction during {};
    ::sigaction(SIGTERM, nullptr, &during);
    EXPECT_NE(during.sa_handler, before.sa_handler);
    ::raise(SIGTERM);
    EXPECT_TRUE(stop.requested());
    EXPECT_EQ(stop.exit_status(), 143);
  }
  struct sigaction after {};
  ::sigaction(SIGTERM, nullptr, &after);
  EXPECT_EQ(after.sa_handler, before.sa_handler);
  const StopRequest next("stopping");
  EXPECT_FALSE(next.requested()) << "a new one starts afresh";
}

}  // namespace
}  // namespace incontext::base
