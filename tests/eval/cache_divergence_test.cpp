#include "eval/cache/divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/random.h"

namespace incontext::eval {
namespace {

std::vector<float> random_logits(uint64_t index, size_t size = 50) {
  std::vector<float> logits(size);
  base::RandomStream stream(3, "logits", index);
  stream.fill_normal(logits);
  for (float& logit : logits) logit *= 4;
  return logits;
}

TEST(CacheDivergence, IsTheDefinitions) {
  const std::vector<float> full = random_logits(0), compressed = random_logits(1);
  double full_sum = 0, compressed_sum = 0, expected = 0;
  for (size_t i = 0; i < full.size(); ++i) {
    full_sum += std::exp(static_cast<double>(full[i]));
    compressed_sum += std::exp(static_cast<double>(compressed[i]));
  }
  for (size_t i = 0; i < full.size(); ++i) {
    const double p = std::exp(static_cast<double>(full[i])) / full_sum;
    const double q = std::exp(static_cast<double>(compressed[i])) / compressed_sum;
    expected += p * std::log(p / q);
  }
  const Divergence at = compare(distribution_of(full), distribution_of(compressed), 7);
  EXPECT_NEAR(at.kl, expected, 1e-12 * expected);
  EXPECT_GT(at.kl, 0.1);
  EXPECT_NEAR(at.loss, std::log(compressed_sum) - compressed[7], 1e-12);
  EXPECT_FALSE(at.same_top);
}

TEST(CacheDivergence, OfTheSameIsZeroToTheBit) {
  for (uint64_t index = 0; index < 20; ++index) {
    std::vector<float> logits = random_logits(index, 1000);
    logits[5] = -std::numeric_limits<float>::infinity();  // a token that cannot come
    const Divergence at = compare(distribution_of(logits), distribution_of(logits), 3);
    EXPECT_EQ(at.kl, 0);
    EXPECT_TRUE(at.same_top);
  }
}

TEST(CacheDivergence, OfNumbersThatAreNoneIsInfinite) {
  std::vector<float> broken = random_logits(0);
  for (float& logit : broken) logit = std::numeric_limits<float>::quiet_NaN();
  const Divergence at = compare(distribution_of(random_logits(0)), distribution_of(broken), 0);
  EXPECT_EQ(at.kl, std::numeric_limits<double>::infinity());
  EXPECT_EQ(at.loss, std::numeric_limits<double>::infinity());
  EXPECT_FALSE(at.same_top);
}

TEST(CacheDivergence, IsSummarized) {
  std::vector<Divergence> positions;
  for (int i = 1; i <= 1000; ++i) positions.push_back({.kl = i * 1.0, .same_top = i % 4 != 0, .loss = 2});
  const DivergenceSummary summary = summarize(positions);
  EXPECT_EQ(summary.positions, 1000);
  EXPECT_NEAR(summary.kl_mean, 500.5, 1e-9);
  EXPECT_EQ(summary.kl_median, 500.5);
  EXPECT_NEAR(summary.kl_p999, 999.001, 1e-9);
  EXPECT_NEAR(summary.same_top, 0.75, 1e-12);
  EXPECT_NEAR(summary.perplexity, std::exp(2.0), 1e-9);
}

}  // namespace
}  // namespace incontext::eval
