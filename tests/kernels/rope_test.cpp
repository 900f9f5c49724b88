#include "kernels/rope.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/inputs.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::Tolerance;

class RopeTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(RopeTest);

TEST_P(RopeTest, TurnsLikeTheReference) {
  const std::vector<int64_t> positions{0, 1, 5, 100000};
  for (int64_t head_dim = 2; head_dim <= 70; head_dim += 2) {
    for (const bool inverse : {false, true}) {
      Matrix fast(4, 3 * (head_dim + 1), 2, 1);  // one float between heads
      fast.fill(random_);
      Matrix slow = fast;
      Rope args{4, 3, head_dim, fast.data(), fast.stride(), head_dim + 1, positions.data(), 10000, inverse};
      rope(args, pool_);
      args.x = slow.data();
      ref::rope(args);
      EXPECT_CLOSE(fast.values(), slow.values(), (Tolerance{.absolute = 5e-7}));
      EXPECT_TRUE(fast.padding_is_untouched());
    }
  }
}

TEST_P(RopeTest, InverseTurnsBack) {
  const std::vector<int64_t> positions{3, 77};
  Matrix x(2, 64);
  x.fill(random_);
  const std::vector<float> before = x.values();
  Rope args{2, 2, 32, x.data(), 64, 32, positions.data(), 10000, false};
  rope(args, pool_);
  args.inverse = true;
  rope(args, pool_);
  EXPECT_CLOSE(x.values(), before, (Tolerance{.absolute = 1e-6}));
}

TEST_P(RopeTest, TurnsAPartOfAHeadByGivenFrequencies) {
  const std::vector<int64_t> positions{0, 7, 999999, 1000000};
  for (const int64_t rotary_dim : {2, 10, 16, 18, 34}) {
    std::vector<double> frequencies = rope_frequencies(500000, rotary_dim);
    for (double& frequency : frequencies) frequency /= 1.7;
    Matrix fast(4, 3 * 40, 2, 1);
    fast.fill(random_);
    Matrix slow = fast, stepped = fast;
    const std::vector<float> before = fast.values();
    Rope args{4, 3, 36, fast.data(), fast.stride(), 40, positions.data()};
    args.rotary_dim = rotary_dim;
    args.inverse_frequencies = frequencies.data();
    args.scale = 1.25;
    rope(args, pool_);
    args.x = slow.data();
    ref::rope(args);
    EXPECT_CLOSE(fast.values(), slow.values(), (Tolerance{.absolute = 6e-7}));
    EXPECT_TRUE(fast.padding_is_untouched());
    for (int64_t h = 0; h < 3; ++h) {
      for (int64_t j = rotary_dim; j < 40; ++j) {
        EXPECT_EQ(fast.at(3, h * 40 + j), before[static_cast<std::size_t>(3 * 120 + h * 40 + j)]);
      }
    }
    // The two steps give the same bits.
    std::vector<float> cosine(static_cast<std::size_t>(2 * rotary_dim)), sine(cosine);
    rope_table({4, rotary_dim, positions.data(), frequencies.data(), 1.25, cosine.data(), sine.data()}, pool_);
    rope_turn({4, 3, rotary_dim, stepped.data(), stepped.stride(), 40, cosine.data(), sine.data()}, pool_);
    EXPECT_CLOSE(stepped.values(), fast.values(), testing::exact());
    // And so they do in the definitions.
    std::vector<float> slow_cosine(cosine.size()), slow_sine(sine.size());
    ref::rope_table({4, rotary_dim, positions.data(), frequencies.data(), 1.25, slow_cosine.data(), slow_sine.data()});
    EXPECT_CLOSE(cosine, slow_cosine, testing::exact());
    EXPECT_CLOSE(sine, slow_sine, testing::exact());
    args.inverse = true;
    args.x = fast.data();
    args.scale = 1 / 1.25;
    rope(args, pool_);
    EXPECT_CLOSE(fast.values(), before, (Tolerance{.absolute = 1e-6}));
    ref::rope_turn({4, 3, rotary_dim, fast.data(), fast.stride(), 40, cosine.data(), sine.data()});
    EXPECT_CLOSE(fast.values(), slow.values(), (Tolerance{.absolute = 3e-6}));
  }
}

TEST_P(RopeTest, BitsOfARowDoNotDependOnTheOtherRows) {
  const std::vector<int64_t> positions{5, 123456, 7};
  Matrix all(3, 64);
  all.fill(random_);
  Matrix alone = all;
  rope({3, 2, 32, all.data(), 64, 32, positions.data()}, pool_);
  for (int64_t r = 0; r < 3; ++r)
    rope({1, 2, 32, &alone.at(r, 0), 64, 32, &positions[static_cast<std::size_t>(r)]}, pool_);
  EXPECT_CLOSE(alone.values(), all.values(), testing::exact());
}

TEST(RopeReference, TurnsPairsHalfAHeadApart) {
  // Position 1, head_dim 4, theta 10000: pairs (0, 2) by 1 radian and (1, 3) by 1/100.
  std::vector<float> x{1, 1, 0, 0};
  const int64_t position = 1;
  ref::rope({1, 1, 4, x.data(), 4, 4, &position, 10000, false});
  EXPECT_CLOSE(x, (std::vector<float>{std::cos(1.0F), std::cos(0.01F), std::sin(1.0F), std::sin(0.01F)}),
               (Tolerance{.absolute = 1e-7}));
}

TEST(RopeReference, InverseIsTheGradient) {
  // The map is linear: <rope(x), y> = <x, inverse(y)>.
  std::mt19937 random(1);
  Matrix x(1, 8), y(1, 8);
  x.fill(random);
  y.fill(random);
  Matrix turned = x, back = y;
  const int64_t position = 9;
  ref::rope({1, 1, 8, turned.data(), 8, 8, &position, 100, false});
  ref::rope({1, 1, 8, back.data(), 8, 8, &position, 100, true});
  double left = 0, right = 0;
  for (int64_t j = 0; j < 8; ++j) {
    left += static_cast<double>(turned.at(0, j)) * static_cast<double>(y.at(0, j));
    right += static_cast<double>(x.at(0, j)) * static_cast<double>(back.at(0, j));
  }
  EXPECT_NEAR(left, right, 1e-6);
}

TEST(RopeChecks, RefusesAnOddHead) {
  base::ThreadPool pool(1);
  EXPECT_THROW(rope({.rows = 1, .heads = 1, .head_dim = 3}, pool), base::Error);
  EXPECT_THROW(rope({.rows = 1, .heads = 1, .head_dim = 4, .rotary_dim = 3}, pool), base::Error);
  EXPECT_THROW(rope({.rows = 1, .heads = 1, .head_dim = 4, .rotary_dim = 6}, pool), base::Error);
}

}  // namespace
}  // namespace incontext::kernels
