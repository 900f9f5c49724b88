#pragma once

#include <chrono>
#include <functional>

#include "hub/http.h"
#include "hub/transfer_report.h"

namespace incontext::hub {

struct RetrySettings {
  /// Failures in a row that end the work.
  int attempts = 5;
  /// Wait after the first of them; it doubles, up to 16 times, unless the server names a longer one.
  std::chrono::milliseconds first_wait{1000};
};

/// Counts failures in a row and waits between them.
class Patience {
 public:
  Patience(const RetrySettings& settings, const std::function<bool()>& stop_requested, TransferReport& report)
      : settings_(settings), stop_requested_(stop_requested), report_(report) {}

  /// Waits, having told why; throws the error when there were too many, or a base::Error when asked to stop.
  void failed(const TransientError& error);
  void progressed() { failures_ = 0; }

 private:
  const RetrySettings& settings_;
  const std::function<bool()>& stop_requested_;
  TransferReport& report_;
  int failures_ = 0;
};

/// Throws the Error of a stop request if there is one.
void check_not_stopped(const std::function<bool()>& stop_requested);

/// The result of `work`, done again after TransientErrors while patience lasts.
template <class Work>
auto with_patience(Patience patience, const Work& work) {
  while (true) {
    try {
      return work();
    } catch (const TransientError& error) {
      patience.failed(error);
    }
  }
}

}  // namespace incontext::hub
