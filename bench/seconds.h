#pragma once

#include <chrono>
#include <ctime>

namespace incontext::bench {

/// Seconds of this thread alone with one thread, so that other work on the machine counts less; else of the clock.
inline double seconds(bool alone) {
  if (alone) {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace incontext::bench
