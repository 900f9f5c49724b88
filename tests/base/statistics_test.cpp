#include "base/statistics.h"

#include <gtest/gtest.h>

#include <limits>

namespace incontext::base {
namespace {

// What numpy.quantile() gives.
TEST(Quantile, IsLinearBetweenNeighbours) {
  const std::vector<double> values = {1, 2, 4, 8};
  EXPECT_EQ(quantile(values, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(values, 0.25), 1.75);
  EXPECT_EQ(quantile(values, 0.5), 3);
  EXPECT_DOUBLE_EQ(quantile(values, 0.999), 7.988);
  EXPECT_EQ(quantile(values, 1), 8);
  EXPECT_EQ(quantile(std::vector<double>{5}, 0.3), 5);
}

TEST(Quantile, TakesInfinities) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const std::vector<double> values = {1, kInf, kInf};
  EXPECT_EQ(quantile(values, 0.9), kInf);
  EXPECT_EQ(quantile(values, 0), 1);
}

TEST(Median, IsInTheMiddle) {
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({9, 1, 5, 6}), 5.5);
  EXPECT_EQ(median({2}), 2);
}

}  // namespace
}  // namespace incontext::base
