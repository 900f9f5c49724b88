#include "kernels/rope.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "kernels/inputs.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::Tolerance;

std::vector<double> frequencies(double theta, int64_t rotary_dim) {
  std::vector<double> inverse;
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    inverse.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim)));
  }
  return inverse;
}

/// Tables of some positions, by the kernel or by the definition.
struct Tables {
  std::vector<int64_t> positions;
  std::vector<double> inverse;
  std::vector<float> cosine, sine;

  Tables(std::vector<int64_t> of, int64_t rotary_dim, double theta = 10000)
      : positions(std::move(of)),
        inverse(frequencies(theta, rotary_dim)),
        cosine(positions.size() * inverse.size()),
        sine(cosine.size()) {}

  int64_t rotary_dim() const { return 2 * static_cast<int64_t>(inverse.size()); }
  RopeTable fill(double scale = 1) {
    return {static_cast<int64_t>(positions.size()),
            rotary_dim(),
            positions.data(),
            inverse.data(),
            scale,
            cosine.data(),
            sine.data()};
  }
  void negate_sine() {
    for (float& value : sine) value = -value;
  }
  /// Three heads of 40 numbers in each row of x.
  RopeTurn turn(Matrix& x, int64_t table_rows = 0) const {
    return {x.rows(), 3, rotary_dim(), x.data(), x.stride(), 40, cosine.data(), sine.data(), table_rows};
  }
};

class RopeTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(RopeTest);

TEST_P(RopeTest, TurnsLikeTheReference) {
  for (int64_t rotary_dim = 0; rotary_dim <= 40; rotary_dim += 2) {
    Tables tables({0, 1, 5, 100000}, rotary_dim), slow_tables = tables;
    rope_table(tables.fill(1.25), pool_);
    ref::rope_table(slow_tables.fill(1.25));
    EXPECT_CLOSE(tables.cosine, slow_tables.cosine, testing::exact());
    EXPECT_CLOSE(tables.sine, slow_tables.sine, testing::exact());
    Matrix fast(4, 3 * 40, 2, 1);
    fast.fill(random_);
    Matrix slow = fast;
    Matrix before = fast;
    rope_turn(tables.turn(fast), pool_);
    ref::rope_turn(tables.turn(slow));
    EXPECT_CLOSE(fast.values(), slow.values(), (Tolerance{.absolute = 6e-7}));
    EXPECT_TRUE(fast.padding_is_untouched());
    for (int64_t h = 0; h < 3; ++h) {
      for (int64_t j = rotary_dim; j < 40; ++j) EXPECT_EQ(fast.at(3, h * 40 + j), before.at(3, h * 40 + j));
    }
  }
}

TEST_P(RopeTest, NegativeSinesTurnBack) {
  Tables tables({3, 77}, 32);
  rope_table(tables.fill(), pool_);
  Matrix x(2, 3 * 40);
  x.fill(random_);
  const std::vector<float> before = x.values();
  rope_turn(tables.turn(x), pool_);
  tables.negate_sine();
  rope_turn(tables.turn(x), pool_);
  EXPECT_CLOSE(x.values(), before, (Tolerance{.absolute = 1e-6}));
}

TEST_P(RopeTest, SequencesShareATable) {
  Tables shared({0, 1, 2}, 20), each({0, 1, 2, 0, 1, 2}, 20);
  rope_table(shared.fill(), pool_);
  rope_table(each.fill(), pool_);
  Matrix x(6, 3 * 40);
  x.fill(random_);
  Matrix expected = x, defined = x;
  rope_turn(shared.turn(x, 3), pool_);
  rope_turn(each.turn(expected), pool_);
  ref::rope_turn(shared.turn(defined, 3));
  EXPECT_CLOSE(x.values(), expected.values(), testing::exact());
  EXPECT_CLOSE(x.values(), defined.values(), (Tolerance{.absolute = 5e-7}));
}

TEST_P(RopeTest, BitsOfARowDoNotDependOnTheOtherRows) {
  Tables all({5, 123456, 7}, 32);
  rope_table(all.fill(), pool_);
  Matrix together(3, 3 * 40);
  together.fill(random_);
  Matrix before = together;
  rope_turn(all.turn(together), pool_);
  for (int64_t r = 0; r < 3; ++r) {
    Tables one({all.positions[static_cast<std::size_t>(r)]}, 32);
    rope_table(one.fill(), pool_);
    Matrix alone(1, 3 * 40);
    for (int64_t j = 0; j < 120; ++j) alone.at(0, j) = before.at(r, j);
    rope_turn(one.turn(alone), pool_);
    for (int64_t j = 0; j < 120; ++j) EXPECT_EQ(alone.at(0, j), together.at(r, j));
  }
}

TEST(RopeReference, TurnsPairsHalfTheRotaryPartApart) {
  // Position 1, rotary_dim 4, theta 10000: pairs (0, 2) by 1 radian and (1, 3) by 1/100.
  Tables tables({1}, 4);
  ref::rope_table(tables.fill());
  std::vector<float> x{1, 1, 0, 0, 7};
  ref::rope_turn({1, 1, 4, x.data(), 5, 5, tables.cosine.data(), tables.sine.data()});
  EXPECT_CLOSE(x, (std::vector<float>{std::cos(1.0F), std::cos(0.01F), std::sin(1.0F), std::sin(0.01F), 7}),
               (Tolerance{.absolute = 1e-7}));
}

TEST(RopeReference, NegativeSinesGiveTheGradient) {
  // The map is linear: <turn(x), y> = <x, turn_back(y)>, with a scale as well.
  std::mt19937 random(1);
  Tables tables({9}, 8, 100);
  ref::rope_table(tables.fill(1.5));
  Matrix x(1, 3 * 40), y(1, 3 * 40);
  x.fill(random);
  y.fill(random);
  Matrix turned = x, back = y;
  ref::rope_turn(tables.turn(turned));
  tables.negate_sine();
  ref::rope_turn(tables.turn(back));
  double left = 0, right = 0;
  for (int64_t j = 0; j < 120; ++j) {
    left += static_cast<double>(turned.at(0, j)) * static_cast<double>(y.at(0, j));
    right += static_cast<double>(x.at(0, j)) * static_cast<double>(back.at(0, j));
  }
  EXPECT_NEAR(left, right, 2e-6);
}

TEST(RopeChecks, RefusesAnOddSize) {
  base::ThreadPool pool(1);
  EXPECT_THROW(rope_table({.rows = 1, .rotary_dim = 3}, pool), base::Error);
  EXPECT_THROW(rope_turn({.rows = 1, .heads = 1, .rotary_dim = 3}, pool), base::Error);
}

}  // namespace
}  // namespace incontext::kernels
