#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <httplib.h>

namespace incontext::serve {

/// The socket a request came through, to see whether the client is still there: the HTTP library tells only when
/// something is written.
class Connection {
 public:
  explicit Connection(const httplib::Request& request);
  /// False once the client has closed its side.
  bool alive() const;

 private:
  int descriptor_ = -1;
};

/// A thread for every connection, up to a limit; more connections wait. Idle threads are used again.
class ConnectionThreads : public httplib::TaskQueue {
 public:
  explicit ConnectionThreads(size_t most) : most_(most) {}

  void enqueue(std::function<void()> job) override;
  void shutdown() override;

 private:
  void work();

  size_t most_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  std::vector<std::thread> threads_;
  size_t idle_ = 0;
  bool stop_ = false;
};

}  // namespace incontext::serve
