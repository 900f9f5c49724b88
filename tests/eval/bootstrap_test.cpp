#include "eval/baselines/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/random.h"

namespace incontext::eval {
namespace {

std::vector<double> normals(uint64_t index, size_t count) {
  base::RandomStream stream(1, "bootstrap test", index);
  std::vector<double> values(count);
  for (double& value : values) value = 3 + 2 * stream.normal();
  return values;
}

TEST(Bootstrap, CoversTheMeanOfNormalDataAsOftenAsItSays) {
  int covered = 0;
  const int trials = 400;
  for (uint64_t trial = 0; trial < trials; ++trial) {
    const Interval interval = bootstrap(normals(trial, 60), {.resamples = 400, .seed = trial});
    covered += interval.low <= 3 && 3 <= interval.high ? 1 : 0;
    EXPECT_LE(interval.low, interval.mean);
    EXPECT_GE(interval.high, interval.mean);
  }
  // 0.9 less 0.01 for the small sample; four standard errors of 0.015.
  EXPECT_GT(covered, (0.89 - 0.06) * trials);
  EXPECT_LT(covered, (0.89 + 0.06) * trials);
}

TEST(Bootstrap, HasTheWidthOfTheNormalInterval) {
  const std::vector<double> values = normals(7, 1000);
  const Interval interval = bootstrap(values);
  const double expected = 2 * 1.645 * 2 / std::sqrt(1000.0);
  EXPECT_NEAR((interval.high - interval.low) / expected, 1, 0.12);
  const Interval narrow = bootstrap(values, {.confidence = 0.5});
  EXPECT_NEAR((narrow.high - narrow.low) / (interval.high - interval.low), 0.6745 / 1.645, 0.08);
}

TEST(Bootstrap, TreatsColumnsAlikeAndIsRepeatable) {
  const torch::Tensor column = torch::tensor(normals(2, 50), torch::kFloat64).unsqueeze(1);
  const auto both = bootstrap_columns(torch::cat({column, 10 * column}, 1));
  const Interval alone = bootstrap(normals(2, 50));
  EXPECT_EQ(both[0].low, alone.low);
  EXPECT_EQ(both[0].high, alone.high);
  EXPECT_NEAR(both[1].high, 10 * both[0].high, 1e-9);
  EXPECT_NE(bootstrap(normals(2, 50), {.seed = 1}).low, alone.low);
}

TEST(Bootstrap, OfEqualValuesIsAPoint) {
  const Interval interval = bootstrap(std::vector<double>{4, 4, 4});
  EXPECT_EQ(interval.mean, 4);
  EXPECT_EQ(interval.low, 4);
  EXPECT_EQ(interval.high, 4);
  EXPECT_THROW(bootstrap(std::vector<double>{}), base::Error);
}

}  // namespace
}  // namespace incontext::eval
