#include "hub/patience.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

namespace incontext::hub {

void check_not_stopped(const std::function<bool()>& stop_requested) {
  base::check(!stop_requested || !stop_requested(),
              "stopped as asked; what has come so far is kept, and the same command continues");
}

void Patience::failed(const TransientError& error) {
  using namespace std::chrono_literals;
  constexpr int kMostDoublings = 4;
  if (++failures_ >= settings_.attempts) throw TransientError(error);
  std::chrono::milliseconds wait = settings_.first_wait * (1 << std::min(failures_ - 1, kMostDoublings));
  if (error.after()) wait = std::max(wait, std::chrono::milliseconds(*error.after()));
  report_.note(fmt::format("{}; again in {:.1f} s ({} of {})", error.what(),
                           std::chrono::duration<double>(wait).count(), failures_ + 1, settings_.attempts));
  const auto end = std::chrono::steady_clock::now() + wait;
  while (std::chrono::steady_clock::now() < end) {
    check_not_stopped(stop_requested_);
    std::this_thread::sleep_for(std::min<std::chrono::steady_clock::duration>(50ms, wait));
  }
}

}  // namespace incontext::hub
