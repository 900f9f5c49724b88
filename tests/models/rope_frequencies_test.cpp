#include "models/rope_frequencies.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "support/errors.h"

namespace incontext::models {
namespace {

DecoderOptions options(const RopeScalingOptions& scaling) {
  DecoderOptions options;
  options.width = 64;
  options.attention.heads = 2;
  options.position = PositionType::rotary;
  options.rope.theta = 10000;
  options.max_positions = 4096;
  options.rope.scaling = scaling;
  return options;
}

TEST(RopeFrequencies, ArePowersOfTheBase) {
  const RopeFrequencies plain = rope_frequencies(options({}), 1);
  ASSERT_EQ(plain.inverse.size(), 16U);
  EXPECT_EQ(plain.inverse[0], 1);
  EXPECT_NEAR(plain.inverse[8], 0.01, 1e-15);
  EXPECT_EQ(plain.scale, 1);
}

TEST(RopeFrequencies, TurnOnlyAPartOfEachHead) {
  DecoderOptions part = options({});
  part.rope.fraction = 0.5;
  EXPECT_EQ(part.rotary_dim(), 16);
  EXPECT_EQ(rope_frequencies(part, 1).inverse.size(), 8U);
}

TEST(RopeFrequencies, LinearDividesAll) {
  const RopeFrequencies plain = rope_frequencies(options({}), 1);
  const RopeFrequencies stretched = rope_frequencies(options({.type = RopeScalingType::linear, .factor = 4}), 1);
  for (size_t i = 0; i < plain.inverse.size(); ++i) EXPECT_DOUBLE_EQ(stretched.inverse[i], plain.inverse[i] / 4);
}

TEST(RopeFrequencies, Llama3KeepsFastAndStretchesSlowOnes) {
  const RopeFrequencies plain = rope_frequencies(options({}), 1);
  const RopeFrequencies stretched =
      rope_frequencies(options({.type = RopeScalingType::llama3, .factor = 8, .original_max_positions = 512}), 1);
  for (size_t i = 0; i < plain.inverse.size(); ++i) {
    const double turns = 512 * plain.inverse[i] / (2 * std::numbers::pi);
    if (turns > 4) {
      EXPECT_DOUBLE_EQ(stretched.inverse[i], plain.inverse[i]);
    }
    if (turns < 1) {
      EXPECT_DOUBLE_EQ(stretched.inverse[i], plain.inverse[i] / 8);
    }
    EXPECT_LE(stretched.inverse[i], plain.inverse[i]);
    EXPECT_GE(stretched.inverse[i], plain.inverse[i] / 8);
  }
}

TEST(RopeFrequencies, LongropeChoosesByLength) {
  RopeScalingOptions scaling{.type = RopeScalingType::longrope, .factor = 8, .original_max_positions = 512};
  scaling.short_factor.assign(16, 1.5);
  scaling.long_factor.assign(16, 3);
  EXPECT_EQ(rope_epoch(options(scaling), 512), 0);
  EXPECT_EQ(rope_epoch(options(scaling), 513), 1);
  EXPECT_EQ(rope_epoch(options(scaling), 5000), 1);
  const RopeFrequencies within = rope_frequencies(options(scaling), 0);
  const RopeFrequencies beyond = rope_frequencies(options(scaling), 1);
  EXPECT_DOUBLE_EQ(within.inverse[0], 1 / 1.5);
  EXPECT_DOUBLE_EQ(beyond.inverse[0], 1.0 / 3);
  EXPECT_NEAR(within.scale, std::sqrt(1 + std::log(8) / std::log(512)), 1e-12);
  scaling.long_factor.pop_back();
  EXPECT_CONTAINS(options(scaling).validate(), "expected 16 short and long factors, got 16 and 15");
}

// With transformers' own numbers for these: theta 10000, 32 elements, 4096 positions, factor 4.
TEST(RopeFrequencies, DynamicGrowsTheBaseWithTheLength) {
  const DecoderOptions dynamic = options({.type = RopeScalingType::dynamic, .factor = 4});
  EXPECT_EQ(rope_epoch(dynamic, 4096), 0);
  EXPECT_EQ(rope_epoch(dynamic, 4097), 4097);
  EXPECT_EQ(rope_frequencies(dynamic, 0).inverse, rope_frequencies(options({}), 0).inverse);
  const RopeFrequencies twice = rope_frequencies(dynamic, 8192);
  EXPECT_EQ(twice.inverse[0], 1);
  EXPECT_NEAR(twice.inverse[8], 0.004238537047, 1e-8);
  EXPECT_NEAR(twice.inverse[15], 3.556558659e-5, 1e-10);
  EXPECT_EQ(twice.scale, 1);
  DecoderOptions narrow = dynamic;
  narrow.attention.head_dim = 2;
  EXPECT_CONTAINS(narrow.validate(), "rope.scaling dynamic needs more than 2 elements, got 2");
}

TEST(RopeFrequencies, YarnsScaleAndBounds) {
  RopeScalingOptions scaling{.type = RopeScalingType::yarn, .factor = 8, .original_max_positions = 512};
  EXPECT_NEAR(rope_frequencies(options(scaling), 0).scale, 0.1 * std::log(8) + 1, 1e-12);
  scaling.mscale = 0.7;
  EXPECT_NEAR(rope_frequencies(options(scaling), 0).scale, 0.1 * std::log(8) + 1, 1e-12) << "one alone says nothing";
  scaling.mscale_all_dim = 1.5;
  EXPECT_NEAR(rope_frequencies(options(scaling), 0).scale, 0.8731966878894148, 1e-6);
  EXPECT_NEAR(rope_frequencies(options(scaling), 0).inverse[5], 0.02811706252, 1e-8);
  scaling.truncate = false;
  EXPECT_NEAR(rope_frequencies(options(scaling), 0).inverse[5], 0.028640965, 1e-8);
  scaling.attention_factor = 1.25;
  EXPECT_EQ(rope_frequencies(options(scaling), 0).scale, 1.25);
}

}  // namespace
}  // namespace incontext::models
