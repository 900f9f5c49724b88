#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

namespace incontext::serve {

/// Counts the continuations a server has taken, and takes no more than it may.
class Admission {
 public:
  explicit Admission(int64_t most) : most_(most) {}

  /// What is taken is given back when the last copy of the ticket is gone. Too many are a RequestError with status 429,
  /// any after close() one with status 503.
  std::shared_ptr<void> enter(int64_t continuations);

  void close();
  bool closed() const;
  /// Waits until nothing is taken any more.
  void wait_until_empty();

 private:
  void leave(int64_t continuations);

  int64_t most_;
  mutable std::mutex mutex_;
  std::condition_variable emptied_;
  int64_t taken_ = 0;
  bool closed_ = false;
};

}  // namespace incontext::serve
