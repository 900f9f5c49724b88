#include "base/signals.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/error.h"

namespace incontext::base {
namespace {

// A handler can reach nothing but globals, and of those only lock-free atomics. It may run on any thread.
std::atomic<int> received{0};
static_assert(std::atomic<int>::is_always_lock_free);
bool alive = false;
struct sigaction previous_interrupt {};
struct sigaction previous_terminate {};

std::atomic<const char*> stopping_words{nullptr};
std::atomic<const char*> stopped_words{nullptr};
static_assert(std::atomic<const char*>::is_always_lock_free);

void write_all(const char* text) {
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text, std::strlen(text));
}

void say(const char* words, const char* end) {
  const int kept = errno;  // of the code we interrupt
  write_all("\nincontext: ");
  write_all(words);
  write_all(end);
  errno = kept;
}

void handle(int signal) {
  int none = 0;
  if (!received.compare_exchange_strong(none, signal)) {
    say(stopped_words, "\n");
    ::_exit(128 + signal);
  }
  say(stopping_words, " (once more to stop at once)\n");
}

}  // namespace

StopRequest::StopRequest(const char* stopping, const char* stopped) {
  INCONTEXT_ASSERT(!alive);
  alive = true;
  stopping_words = stopping;
  stopped_words = stopped;
  received = 0;
  struct sigaction action {};
  action.sa_handler = handle;
  ::sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, &previous_interrupt);
  ::sigaction(SIGTERM, &action, &previous_terminate);
}

StopRequest::~StopRequest() {
  ::sigaction(SIGINT, &previous_interrupt, nullptr);
  ::sigaction(SIGTERM, &previous_terminate, nullptr);
  alive = false;
}

bool StopRequest::requested() const { return received != 0; }

int StopRequest::exit_status() const { return received == 0 ? 0 : 128 + received; }

}  // namespace incontext::base
