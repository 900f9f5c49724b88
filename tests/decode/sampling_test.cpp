#include "decode/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/errors.h"

namespace incontext::decode {
namespace {

using testing::error_of;

// How often each token comes, over draws with many seeds.
std::map<int64_t, double> frequencies(const std::vector<float>& logits, SamplingOptions options,
                                      const std::vector<int64_t>& prompt = {},
                                      const std::vector<int64_t>& generated = {}) {
  constexpr int kDraws = 20000;
  std::map<int64_t, double> counts;
  for (int draw = 0; draw < kDraws; ++draw) {
    options.seed = static_cast<uint64_t>(draw);
    counts[choose(logits, options, prompt, generated, -1).token] += 1.0 / kDraws;
  }
  return counts;
}

constexpr double kNoise = 0.015;  // four standard deviations of a frequency

std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double probability : probabilities) logits.push_back(static_cast<float>(std::log(probability) + 3));
  return logits;
}

TEST(Sampling, ZeroTemperatureTakesTheFirstOfTheBest) {
  EXPECT_EQ(choose(std::vector<float>{1, 3, 3, 2}, {.temperature = 0}, {}, {}).token, 1);
}

TEST(Sampling, DrawsFromTheModelsDistribution) {
  const auto counts = frequencies(logits_of({0.5, 0.3, 0.2}), {});
  EXPECT_NEAR(counts.at(0), 0.5, kNoise);
  EXPECT_NEAR(counts.at(1), 0.3, kNoise);
  EXPECT_NEAR(counts.at(2), 0.2, kNoise);
}

TEST(Sampling, TemperatureSharpens) {
  const auto counts = frequencies(logits_of({0.6, 0.4}), {.temperature = 0.5});
  EXPECT_NEAR(counts.at(0), 0.36 / 0.52, kNoise);
}

TEST(Sampling, TopKKeepsTheLikeliest) {
  const auto counts = frequencies(logits_of({0.2, 0.5, 0.3}), {.top_k = 2});
  EXPECT_EQ(counts.count(0), 0U);
  EXPECT_NEAR(counts.at(1), 5.0 / 8, kNoise);
}

TEST(Sampling, TopPKeepsTheFewestThatReachIt) {
  const auto counts = frequencies(logits_of({0.5, 0.3, 0.15, 0.05}), {.top_p = 0.7});
  EXPECT_EQ(counts.size(), 2U);
  EXPECT_NEAR(counts.at(0), 5.0 / 8, kNoise);
  EXPECT_EQ(frequencies(logits_of({0.5, 0.3, 0.2}), {.top_p = 0}).size(), 1U);
}

TEST(Sampling, MinPIsRelativeToTheLikeliest) {
  const auto counts = frequencies(logits_of({0.5, 0.3, 0.15, 0.05}), {.min_p = 0.25});
  EXPECT_EQ(counts.size(), 3U);
  EXPECT_EQ(counts.count(3), 0U);
}

TEST(Sampling, PenaltiesAndBiases) {
  const std::vector<float> logits = {2, -1, 1.9F};
  EXPECT_EQ(choose(logits, {.temperature = 0, .repetition_penalty = 2}, std::vector<int64_t>{0}, {}).token, 2);
  EXPECT_EQ(choose(logits, {.temperature = 0, .presence_penalty = 0.2}, std::vector<int64_t>{0}, {}).token, 0)
      << "prompts do not count for presence";
  EXPECT_EQ(choose(logits, {.temperature = 0, .presence_penalty = 0.2}, {}, std::vector<int64_t>{0}).token, 2);
  EXPECT_EQ(choose(logits, {.temperature = 0, .frequency_penalty = 0.06}, {}, std::vector<int64_t>{0}).token, 0);
  EXPECT_EQ(choose(logits, {.temperature = 0, .frequency_penalty = 0.06}, {}, std::vector<int64_t>{0, 0}).token, 2);
  EXPECT_EQ(choose(logits, {.temperature = 0, .logit_bias = {{1, 4}}}, {}, {}).token, 1);
  EXPECT_EQ(choose(logits, {.temperature = 0, .logit_bias = {{99, 4}}}, {}, {}).token, 0) << "unknown ids do no harm";
}

TEST(Sampling, LogprobsAreThoseOfTheModel) {
  const Choice choice = choose(logits_of({0.5, 0.3, 0.2}), {.temperature = 0, .logit_bias = {{2, 100}}}, {}, {}, 2);
  EXPECT_EQ(choice.token, 2);
  EXPECT_NEAR(choice.logprob, std::log(0.2), 1e-6);
  ASSERT_EQ(choice.top.size(), 2U);
  EXPECT_EQ(choice.top[0].token, 0);
  EXPECT_NEAR(choice.top[1].logprob, std::log(0.3), 1e-6);
}

TEST(Sampling, IdsWithoutATokenAreNeverChosenButKeepTheirShare) {
  // The last two rows of the matrix are padding: the model gives them 0.6 of the probability.
  const std::vector<float> logits = logits_of({0.3, 0.1, 0.2, 0.4});
  const Choice greedy = choose(logits, {.temperature = 0}, {}, {}, 4, /*tokens=*/2);
  EXPECT_EQ(greedy.token, 0);
  EXPECT_NEAR(greedy.logprob, std::log(0.3), 1e-6);
  ASSERT_EQ(greedy.top.size(), 2U);
  EXPECT_NEAR(greedy.top[1].logprob, std::log(0.1), 1e-6);
  const Choice echoed = score(logits, 0, 4, /*tokens=*/2);
  EXPECT_EQ(echoed.logprob, greedy.logprob) << "what is generated and what is scored have one definition";
  EXPECT_EQ(echoed.top.size(), 2U);
  double first = 0;
  for (uint64_t seed = 0; seed < 20000; ++seed) {
    const int64_t token = choose(logits, {.seed = seed}, {}, {}, -1, /*tokens=*/2).token;
    ASSERT_LT(token, 2);
    first += token == 0 ? 1.0 / 20000 : 0;
  }
  EXPECT_NEAR(first, 0.75, kNoise) << "draws are from what is left";
}

TEST(Sampling, TinyTemperaturesAreGreedy) {
  const std::vector<float> logits = {1, 3, 2.9999F, -2};
  for (const double temperature : {1e-3, 1e-12, 1e-200, 1e-300, 1e-308, 5e-324}) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
      EXPECT_EQ(choose(logits, {.temperature = temperature * 1e-3, .seed = seed}, {}, {}).token, 1) << temperature;
    }
  }
}

TEST(Sampling, ExtremePenaltiesAndBiasesLeaveNumbersThatCompare) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const std::vector<float> logits = {2, 1, static_cast<float>(-kInfinity)};
  const std::vector<int64_t> seen = {0};
  const double huge = std::numeric_limits<double>::max();
  EXPECT_EQ(choose(logits, {.temperature = 0, .repetition_penalty = 1e-320}, seen, {}).token, 0);
  EXPECT_EQ(choose(logits, {.temperature = 0, .repetition_penalty = huge}, seen, {}).token, 1);
  EXPECT_EQ(choose(std::vector<float>{-2, -3, -4}, {.repetition_penalty = huge}, seen, {}).token, 1);
  EXPECT_EQ(choose(std::vector<float>{-2}, {.repetition_penalty = huge}, seen, {}).token, 0);
  EXPECT_EQ(choose(std::vector<float>{0, -1}, {.temperature = 0, .repetition_penalty = kInfinity}, seen, {}).token, 0);
  EXPECT_EQ(choose(logits, {.temperature = 0, .presence_penalty = huge, .frequency_penalty = huge}, {}, seen).token, 1);
  EXPECT_EQ(choose(logits, {.temperature = 0, .presence_penalty = -huge, .frequency_penalty = -huge}, {}, seen).token,
            0);
  // Infinite both ways: the token that the model excludes stays excluded.
  SamplingOptions biased{.repetition_penalty = 1e-320, .presence_penalty = huge, .logit_bias = {{0, huge}, {2, huge}}};
  for (uint64_t seed = 0; seed < 50; ++seed) {
    biased.seed = seed;
    EXPECT_NE(choose(logits, biased, {}, seen).token, 2);
  }
}

TEST(Sampling, TheDrawDependsOnSeedAndPlaceAlone) {
  const std::vector<float> logits(1000, 0);
  const int64_t first = choose(logits, {.seed = 7}, {}, {}).token;
  EXPECT_EQ(choose(logits, {.seed = 7}, std::vector<int64_t>{1, 2}, {}).token, first);
  EXPECT_NE(choose(logits, {.seed = 7}, {}, std::vector<int64_t>{1}).token, first);
  EXPECT_NE(choose(logits, {.seed = 8}, {}, {}).token, first);
}

TEST(Sampling, LogitsThatAreNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(choose(std::vector<float>{-kInfinity, 1}, {}, {}, {}).token, 1);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
    EXPECT_CONTAINS(error_of([&] { choose(std::vector<float>{0, bad}, {}, {}, {}); }), "not finite");
  }
  EXPECT_CONTAINS(error_of([&] { choose(std::vector<float>{-kInfinity}, {}, {}, {}); }), "all -infinity");
}

}  // namespace
}  // namespace incontext::decode
