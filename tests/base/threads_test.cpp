#include "base/threads.h"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>

namespace incontext::base {
namespace {

#ifdef INCONTEXT_SANITIZED
constexpr int kShortLoops = 3000;
#else
constexpr int kShortLoops = 30000;
#endif

TEST(Threads, EveryPieceRunsExactlyOnce) {
  for (const int size : {1, 2, 3, 8}) {
    ThreadPool pool(size);
    EXPECT_EQ(pool.size(), size);
    for (const int64_t pieces : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> counts(static_cast<size_t>(pieces));
      std::atomic<bool> thread_in_range{true};
      pool.run(pieces, [&](int64_t piece, int thread) {
        counts[static_cast<size_t>(piece)].fetch_add(1);
        if (thread < 0 || thread >= size) thread_in_range = false;
      });
      for (const auto& count : counts) ASSERT_EQ(count.load(), 1) << size << " threads, " << pieces << " pieces";
      EXPECT_TRUE(thread_in_range);
    }
  }
}

TEST(Threads, SeveralThreadsTakePart) {
  ThreadPool pool(2);
  // Each piece waits for the other, which one thread alone could not do.
  std::atomic<int> arrived{0};
  pool.run(2, [&](int64_t, int) {
    arrived.fetch_add(1);
    while (arrived.load() < 2) std::this_thread::yield();
  });
  EXPECT_EQ(arrived.load(), 2);
}

TEST(Threads, TwoPiecesNeverShareAThreadNumberAtOnce) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> users(4);
  std::atomic<int> clashes{0};
  pool.run(2000, [&](int64_t, int thread) {
    auto& mine = users[static_cast<size_t>(thread)];
    if (mine.fetch_add(1) != 0) clashes.fetch_add(1);
    std::this_thread::yield();
    mine.fetch_sub(1);
  });
  EXPECT_EQ(clashes.load(), 0);
}

TEST(Threads, AnExceptionArrivesAndThePoolStaysUsable) {
  for (const int size : {1, 2, 4}) {
    ThreadPool pool(size);
    for (int round = 0; round < 50; ++round) {
      std::string caught;
      std::atomic<int> ran{0};
      try {
        pool.run(1000, [&](int64_t piece, int) {
          ran.fetch_add(1);
          if (piece == 3) throw std::runtime_error("piece three");
        });
      } catch (const std::runtime_error& error) {
        caught = error.what();
      }
      EXPECT_EQ(caught, "piece three");
      EXPECT_LE(ran.load(), 1000);
      std::atomic<int64_t> sum{0};
      pool.run(10, [&](int64_t piece, int) { sum.fetch_add(piece); });
      ASSERT_EQ(sum.load(), 45);
    }
  }
}

TEST(Threads, ANestedLoopRunsAlone) {
  ThreadPool pool(3);
  std::atomic<int> inner{0};
  std::atomic<bool> as_first{true};
  pool.run(8, [&](int64_t, int) {
    const auto outer_thread = std::this_thread::get_id();
    pool.run(5, [&](int64_t, int thread) {
      inner.fetch_add(1);
      if (thread != 0 || std::this_thread::get_id() != outer_thread) as_first = false;
    });
  });
  EXPECT_EQ(inner.load(), 40);
  EXPECT_TRUE(as_first);
}

TEST(Threads, SizeHereIsThatOfALoopFromHere) {
  ThreadPool pool(3);
  EXPECT_EQ(pool.size_here(), 3);
  std::atomic<int> ones = 0;
  pool.run(5, [&](int64_t, int) { ones += pool.size_here() == 1; });
  EXPECT_EQ(ones, 5);
  EXPECT_EQ(pool.size_here(), 3);
}

TEST(Threads, ManyShortLoops) {
  ThreadPool pool(3);  // more than this may have processors, so that threads sleep and are woken
  int64_t total = 0;
  for (int round = 0; round < kShortLoops; ++round) {
    std::atomic<int64_t> sum{0};
    pool.run(4, [&](int64_t piece, int) { sum.fetch_add(piece + 1, std::memory_order_relaxed); });
    ASSERT_EQ(sum.load(), 10) << round;
    total += sum.load();
    if (round % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(total, int64_t{10} * kShortLoops);
}

TEST(Threads, WritesOfPiecesAreSeenAfterTheLoop) {
  ThreadPool pool(2);
  std::vector<int> plain(64);
  for (int round = 1; round <= 500; ++round) {
    pool.run(64, [&](int64_t piece, int) { plain[static_cast<size_t>(piece)] = round; });
    for (const int value : plain) ASSERT_EQ(value, round);
  }
}

TEST(Threads, PoolsComeAndGo) {
  for (int round = 0; round < 200; ++round) {
    const auto pool = std::make_unique<ThreadPool>(3);
    if (round % 2 == 0) pool->run(3, [](int64_t, int) {});
  }
  EXPECT_GE(available_processors(), 1);
}

}  // namespace
}  // namespace incontext::base
