#include "base/signals.h"

#include <unistd.h>

#include <csignal>

#include "base/error.h"

namespace incontext::base {
namespace {

// The only state a signal handler may touch. Written by the handler, read by StopRequest.
volatile std::sig_atomic_t received = 0;
bool alive = false;
struct sigaction previous_interrupt {};
struct sigaction previous_terminate {};

void handle(int signal) {
  if (received != 0) {
    constexpr char kMessage[] = "\nincontext: stopped at once; the last checkpoint stands\n";
    [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
    ::_exit(128 + signal);
  }
  received = signal;
  constexpr char kMessage[] = "\nincontext: stopping after this step (once more to stop at once)\n";
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
}

}  // namespace

StopRequest::StopRequest() {
  INCONTEXT_ASSERT(!alive);
  alive = true;
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

int StopRequest::exit_status() const { return received == 0 ? 0 : 128 + static_cast<int>(received); }

}  // namespace incontext::base
