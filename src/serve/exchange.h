#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "serve/backend.h"
#include "serve/metrics.h"

namespace incontext::serve {

/// One thing that happened to one continuation of a request.
struct ContinuationEvent {
  enum class Kind { progress, scores, token, cache, end };
  Kind kind = Kind::progress;
  size_t continuation = 0;
  int64_t done = 0, reused = 0;             // progress
  std::vector<decode::Choice> scores = {};  // of the prompt's tokens, of a token, of the one that ended the text
  std::string text = {};                    // of a token, and the rest at the end
  int64_t cache_bytes = 0;                  // cache
  Finish finish = Finish::stop;             // end
  std::string error = {};
};

/// The continuations of one request on their way through the backend. Used by one thread; what the backend tells from
/// its own comes through a queue.
class Exchange {
 public:
  /// Begins them all, or none: an Error of the backend goes to the caller. `ticket` is held until the last has ended.
  Exchange(Backend& backend, std::shared_ptr<Metrics> metrics, std::vector<ContinuationRequest> requests,
           std::shared_ptr<void> ticket);
  /// Cancels what has not ended.
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// The next event, or nothing when none came in time.
  std::optional<ContinuationEvent> next(std::chrono::milliseconds wait);
  /// All ends were taken by next().
  bool ended() const { return ended_ == numbers_.size(); }

 private:
  struct Queue;
  void cancel();

  Backend& backend_;
  std::shared_ptr<void> ticket_;
  std::shared_ptr<Queue> queue_;
  std::vector<int64_t> numbers_;
  size_t ended_ = 0;
};

}  // namespace incontext::serve
