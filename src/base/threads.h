#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace incontext::base {

/// A fixed set of threads that run loops together; the caller's thread is one of them. Kernels take a pool as an
/// argument and cut their work into pieces whose results do not depend on who runs them, so that any number of
/// threads gives the same bits.
class ThreadPool {
 public:
  /// `threads` >= 1 counts the caller.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }
  /// How many threads a call of run() from here would use: one from within a piece.
  int size_here() const;

  /// Calls work(piece, thread) once for every piece in 0 … pieces-1, on any thread of the pool, and returns when
  /// all are done. `thread` is in 0 … size()-1 and tells which scratch space is the caller's own. The first
  /// exception is rethrown here; the pieces not begun by then are left out. Not reentrant: a piece that calls
  /// run() runs that inner loop alone, as thread 0 of a pool of one. One thread at a time may call run().
  void run(int64_t pieces, const std::function<void(int64_t piece, int thread)>& work);

 private:
  void stop();
  void worker_loop(int thread);
  void drain(int thread);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> active_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::atomic<bool> busy_{false};
  std::atomic<int64_t> next_{0};
  int64_t pieces_ = 0;
  const std::function<void(int64_t, int)>* work_ = nullptr;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

/// Number of processors this process may use.
int available_processors();

}  // namespace incontext::base
