#include "base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace incontext::base {
namespace {

using Block = std::array<uint32_t, 4>;

// Vectors of the authors' own test file (Random123, kat_vectors, philox 4x32 with 10 rounds).
TEST(Random, PhiloxMatchesThePublishedVectors) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, AStreamIsAFunctionOfItsName) {
  RandomStream one(7, "data", 3), same(7, "data", 3);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(one.next_u64(), same.next_u64());
}

TEST(Random, DifferentNamesGiveDifferentNumbers) {
  std::set<uint64_t> seen;
  int streams = 0;
  for (const uint64_t seed : {0ULL, 1ULL, 2ULL, 1ULL << 32, 1ULL << 63}) {
    for (const char* purpose : {"", "a", "b", "ab", "ba"}) {
      for (const uint64_t index : {0ULL, 1ULL, 2ULL, 1ULL << 32, 1ULL << 63}) {
        RandomStream stream(seed, purpose, index);
        for (int i = 0; i < 8; ++i) seen.insert(stream.next_u64());
        ++streams;
      }
    }
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(streams) * 8);
}

double correlation(RandomStream a, RandomStream b, int count) {
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += a.normal() * b.normal();
  return sum / count;
}

// The mean of n products of independent standard normals has deviation 1/sqrt(n); the bound is 5 of them, and
// what is fixed by its seed does not fail by chance.
TEST(Random, NeighbouringStreamsAreUncorrelated) {
  constexpr int kCount = 20000;
  const double bound = 5 / std::sqrt(kCount);
  const RandomStream base(1, "data", 0);
  for (const RandomStream& other :
       {RandomStream(2, "data", 0), RandomStream(1, "data", 1), RandomStream(1, "datb", 0), RandomStream(1, "", 0)}) {
    EXPECT_LT(std::fabs(correlation(base, other, kCount)), bound);
  }
  EXPECT_GT(correlation(base, base, kCount), 0.9) << "the measure itself sees dependence";
}

TEST(Random, UniformHasTheRightMoments) {
  RandomStream stream(5, "moments", 0);
  constexpr int kCount = 200000;
  double sum = 0, squares = 0, lowest = 1, highest = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = stream.uniform();
    sum += x;
    squares += x * x;
    lowest = std::min(lowest, x);
    highest = std::max(highest, x);
  }
  // Deviation of the mean: sqrt(1/12/n) = 0.00065; of the mean square: sqrt(4/45/n) = 0.00067.
  EXPECT_NEAR(sum / kCount, 0.5, 5 * 0.00065);
  EXPECT_NEAR(squares / kCount, 1.0 / 3, 5 * 0.00067);
  EXPECT_GE(lowest, 0);
  EXPECT_LT(highest, 1);
  EXPECT_LT(lowest, 1e-4);
  EXPECT_GT(highest, 1 - 1e-4);
  const double shifted = stream.uniform(-3, -2);
  EXPECT_TRUE(shifted >= -3 && shifted < -2) << shifted;
}

TEST(Random, NormalHasTheRightMoments) {
  RandomStream stream(6, "moments", 0);
  constexpr int kCount = 200000;
  std::vector<float> values(kCount);
  stream.fill_normal(values);
  double moments[5] = {};
  int beyond_two = 0;
  for (const float value : values) {
    double power = 1;
    for (double& moment : moments) {
      moment += power / kCount;
      power *= value;
    }
    beyond_two += std::fabs(value) > 2 ? 1 : 0;
  }
  // Deviations with n = 200000: sqrt(1/n), sqrt(2/n), sqrt(15/n), sqrt(96/n); bounds are 5 of them.
  const double unit = 5 / std::sqrt(kCount);
  EXPECT_NEAR(moments[1], 0, unit);
  EXPECT_NEAR(moments[2], 1, std::sqrt(2) * unit);
  EXPECT_NEAR(moments[3], 0, std::sqrt(15) * unit);
  EXPECT_NEAR(moments[4], 3, std::sqrt(96) * unit);
  EXPECT_NEAR(static_cast<double>(beyond_two) / kCount, 0.0455, 0.0024);
}

TEST(Random, ConsecutiveNormalsAreUncorrelated) {
  RandomStream stream(8, "pairs", 0);
  constexpr int kCount = 100000;
  double sum = 0, previous = stream.normal();
  for (int i = 0; i < kCount; ++i) {
    const double next = stream.normal();
    sum += previous * next;
    previous = next;
  }
  EXPECT_LT(std::fabs(sum / kCount), 5 / std::sqrt(kCount));
}

TEST(Random, BelowIsUnbiased) {
  RandomStream stream(9, "below", 0);
  constexpr int kBound = 7, kCount = 70000;
  std::vector<int> counts(kBound);
  for (int i = 0; i < kCount; ++i) ++counts[stream.below(kBound)];
  for (const int count : counts) EXPECT_NEAR(count, kCount / kBound, 5 * std::sqrt(kCount / kBound));
  // With a bound of three quarters of 2^64, draw % bound alone would give the lowest third twice as often.
  constexpr uint64_t kLarge = 3ULL << 62;
  int lowest_third = 0;
  for (int i = 0; i < kCount; ++i) {
    const uint64_t draw = stream.below(kLarge);
    ASSERT_LT(draw, kLarge);
    lowest_third += draw < kLarge / 3 ? 1 : 0;
  }
  EXPECT_NEAR(lowest_third, kCount / 3.0, 5 * std::sqrt(kCount * 2.0 / 9));
  for (int i = 0; i < 100; ++i) ASSERT_EQ(stream.below(1), 0U);
}

TEST(Random, PermutationsAreValidAndUniform) {
  RandomStream stream(10, "permutation", 0);
  std::vector<int64_t> order(100);
  stream.permutation(order);
  std::vector<int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(sorted[static_cast<size_t>(i)], i);
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));

  std::vector<int64_t> three(3);
  int counts[6] = {};
  constexpr int kCount = 60000;
  for (int i = 0; i < kCount; ++i) {
    stream.permutation(three);
    ++counts[three[0] * 2 + (three[1] > three[2] ? 1 : 0)];
  }
  for (const int count : counts) EXPECT_NEAR(count, kCount / 6, 5 * std::sqrt(kCount / 6));
  stream.permutation(std::span<int64_t>());
}

}  // namespace
}  // namespace incontext::base
