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
}

}  // namespace
}  // namespace incontext::kernels
