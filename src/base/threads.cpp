#include "base/threads.h"

#include <sched.h>

#include <algorithm>
#include <exception>
#include <system_error>
#include <utility>

#include "base/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace incontext::base {
namespace {

// Loops of a training step follow each other within microseconds: a worker that polls this long before it sleeps
// saves the kernel's wake-up, which costs more than a small loop. About 50 microseconds.
constexpr int kPolls = 2000;

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

thread_local bool inside_loop = false;

}  // namespace

ThreadPool::ThreadPool(int threads) {
  INCONTEXT_ASSERT(threads >= 1);
  try {
    for (int thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { worker_loop(thread); });
  } catch (const std::system_error& error) {
    stop();
    fail("threads: cannot start {} of them: {}", threads, error.code().message());
  }
}

ThreadPool::~ThreadPool() { stop(); }

int ThreadPool::size_here() const { return inside_loop ? 1 : size(); }

void ThreadPool::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_.store(true);
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::drain(int thread) {
  inside_loop = true;
  try {
    while (true) {
      const int64_t piece = next_.fetch_add(1, std::memory_order_relaxed);
      if (piece >= pieces_) break;
      (*work_)(piece, thread);
    }
  } catch (...) {
    next_.store(pieces_);
    const std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
  inside_loop = false;
}

void ThreadPool::worker_loop(int thread) {
  uint64_t seen = 0;
  while (true) {
    for (int poll = 0; poll < kPolls && generation_.load(std::memory_order_acquire) == seen; ++poll) relax();
    if (generation_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return generation_.load() != seen; });  // sequentially consistent, as run() is
      sleeping_.fetch_sub(1);
    }
    seen = generation_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    drain(thread);
    active_.fetch_sub(1, std::memory_order_release);
  }
}

void ThreadPool::run(int64_t pieces, const std::function<void(int64_t, int)>& work) {
  if (pieces <= 0) return;
  if (inside_loop || workers_.empty() || pieces == 1) {
    for (int64_t piece = 0; piece < pieces; ++piece) work(piece, 0);
    return;
  }
  INCONTEXT_ASSERT(!busy_.exchange(true));
  pieces_ = pieces;
  work_ = &work;
  next_.store(0, std::memory_order_relaxed);
  active_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst) > 0) {
    { const std::lock_guard lock(mutex_); }  // a worker between its test and its sleep has the lock
    wake_.notify_all();
  }
  drain(0);
  // Wait for the workers' last pieces. Yield at times: with more threads than processors one of them needs ours.
  for (int poll = 0; active_.load(std::memory_order_acquire) > 0; ++poll) {
    if (poll % kPolls == kPolls - 1) {
      std::this_thread::yield();
    } else {
      relax();
    }
  }
  work_ = nullptr;
  busy_.store(false);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

int available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

}  // namespace incontext::base
