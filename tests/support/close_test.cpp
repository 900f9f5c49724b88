#include "support/close.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace incontext::testing {
namespace {

using Floats = std::vector<float>;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

bool close(const Floats& actual, const Floats& expected, Tolerance tolerance) {
  return compare(std::span<const float>(actual), std::span<const float>(expected), tolerance).empty();
}

TEST(Close, AcceptsWhatIsWithinTolerance) {
  EXPECT_TRUE(close({1.0f, 2.0f}, {1.0f, 2.05f}, {.absolute = 0.1}));
  EXPECT_TRUE(close({1000.0f}, {1001.0f}, {.relative = 0.01}));
  EXPECT_TRUE(close({}, {}, exact()));
  EXPECT_TRUE(close({0.0f}, {-0.0f}, exact()));
  EXPECT_TRUE(close({kInfinity, -kInfinity}, {kInfinity, -kInfinity}, exact()));
}

TEST(Close, RefusesWhatIsNot) {
  EXPECT_FALSE(close({1.0f, 2.0f}, {1.0f, 2.2f}, {.absolute = 0.1}));
  EXPECT_FALSE(close({1e-30f}, {0.0f}, {.relative = 0.5}));
  EXPECT_FALSE(close({-1.0f}, {1.0f}, {.relative = 0.5}));
  EXPECT_FALSE(close({-1.0f}, {-1000.0f}, {.relative = 0.5})) << "pairs of negatives";
  EXPECT_FALSE(close({1.0f}, {1.0f, 1.0f}, exact())) << "sizes";
}

TEST(Close, RefusesNaNAndUnequalInfinities) {
  const Tolerance loose{.absolute = 1e30, .relative = 1e30};
  EXPECT_FALSE(close({kNaN}, {kNaN}, loose));
  EXPECT_FALSE(close({kNaN}, {1.0f}, loose));
  EXPECT_FALSE(close({1.0f}, {kNaN}, loose));
  EXPECT_FALSE(close({kInfinity}, {1.0f}, loose));
  EXPECT_FALSE(close({1.0f}, {kInfinity}, loose));
  EXPECT_FALSE(close({-kInfinity}, {kInfinity}, loose));
}

TEST(Close, RefusesABufferComparedWithItself) {
  const Floats values{1.0f};
  EXPECT_FALSE(compare(std::span<const float>(values), std::span<const float>(values), exact()).empty());
}

TEST(Close, NamesTheWorstElement) {
  const Floats actual{1.0f, 5.0f, 2.0f};
  const Floats expected{1.0f, 3.0f, 2.5f};
  const std::string message = compare(std::span<const float>(actual), std::span<const float>(expected), exact());
  EXPECT_NE(message.find("index 1 of 3: expected 3, got 5"), std::string::npos) << message;
  const Floats with_nan{1.0f, 1e30f, kNaN};
  EXPECT_NE(compare(std::span<const float>(with_nan), std::span<const float>(expected), exact()).find("index 2"),
            std::string::npos);
}

TEST(Close, AccumulatedGrowsWithTermsAndMagnitude) {
  EXPECT_LT(accumulated(kEpsilonF32, 10, 1).absolute, accumulated(kEpsilonF32, 1000, 1).absolute);
  EXPECT_LT(accumulated(kEpsilonF32, 10, 1).absolute, accumulated(kEpsilonF32, 10, 100).absolute);
  EXPECT_LT(accumulated(kEpsilonF32, 1000, 1).absolute, 1e-5);
}

}  // namespace
}  // namespace incontext::testing
