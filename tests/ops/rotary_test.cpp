#include "ops/rotary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "ops/agreement.h"
#include "support/gradient_check.h"

namespace incontext::ops {
namespace {

using testing::draw;
using torch::Tensor;

const testing::Tolerance kRotaryTolerance = testing::accumulated(testing::kEpsilonF32, 8, 10);

std::vector<double> frequencies(int64_t rotary_dim) {
  std::vector<double> inverse;
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    inverse.push_back(std::pow(100.0, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim)));
  }
  return inverse;
}

testing::Operation turn_with(const AttentionHeads& heads, const RotaryTables& tables) {
  return [heads, tables](const Settings& settings, const std::vector<Tensor>& in) {
    return rotary(settings, in[0].clone(), heads, tables);
  };
}

TEST(Rotary, AgreesWithLibtorchInDouble) {
  for (const int64_t rotary_dim : {0, 2, 4, 6}) {  // a part of each head, and all of it
    SCOPED_TRACE(rotary_dim);
    const AttentionHeads heads{2, 1, 6};
    const RotaryTables shared = rotary_tables(frequencies(rotary_dim), 1.25, 3, 5);
    const RotaryTables each = rotary_tables(frequencies(rotary_dim), 1.25, 3, 10);
    testing::expect_agreement(turn_with(heads, shared), {draw({2, 5, heads.packed_width()}, "qkv")}, kRotaryTolerance);
    testing::expect_agreement(turn_with(heads, each), {draw({2, 5, heads.packed_width()}, "qkv")}, kRotaryTolerance);
    testing::expect_agreement(turn_with(heads, each), {draw({10, heads.packed_width()}, "qkv")}, kRotaryTolerance);
  }
}

TEST(Rotary, TurnsPairsByTheirAngles) {
  // Token 2, pairs (0, 2) and (1, 3) of six numbers: by 1 and 0.1 radian a position, and times 2.
  const AttentionHeads heads{1, 1, 6};
  const RotaryTables tables = rotary_tables(std::vector<double>{1, 0.1}, 2, 2, 1);
  const Tensor qkv = torch::arange(1, 19, torch::kFloat32).view({1, 18});
  const Tensor turned = rotary({}, qkv.clone(), heads, tables);
  const auto angle = [](double x, double y, double a) { return 2 * (x * std::cos(a) - y * std::sin(a)); };
  const auto back = [](double x, double y, double a) { return 2 * (y * std::cos(a) + x * std::sin(a)); };
  const std::vector<double> expected = {angle(1, 3, 2),
                                        angle(2, 4, 0.2),
                                        back(1, 3, 2),
                                        back(2, 4, 0.2),
                                        5,
                                        6,
                                        angle(7, 9, 2),
                                        angle(8, 10, 0.2),
                                        back(7, 9, 2),
                                        back(8, 10, 0.2),
                                        11,
                                        12,
                                        13,
                                        14,
                                        15,
                                        16,
                                        17,
                                        18};
  EXPECT_TENSORS_CLOSE(turned[0].to(torch::kFloat64), torch::tensor(expected, torch::kFloat64),
                       (testing::Tolerance{.absolute = 1e-5}));
}

TEST(Rotary, WholeSequencesGetTheBitsOfTheirTokens) {
  const AttentionHeads heads{4, 2, 20};
  const RotaryTables tables = rotary_tables(frequencies(16), 1, 0, 7);
  const Tensor whole = draw({3, 7, heads.packed_width()}, "qkv");
  const Tensor turned = rotary({}, whole.clone(), heads, tables);
  for (int64_t b = 0; b < 3; ++b) {
    EXPECT_TENSORS_CLOSE(rotary({}, whole[b].clone(), heads, tables), turned[b].clone(), testing::exact());
  }
  // And with gradients, where it is another tensor that is turned.
  EXPECT_TENSORS_CLOSE(rotary({}, whole.clone().set_requires_grad(true), heads, tables).detach(), turned,
                       testing::exact());
}

TEST(Rotary, OverwritesOnlyWhatNeedsNoGradient) {
  const AttentionHeads heads{1, 1, 4};
  const RotaryTables tables = rotary_tables(frequencies(4), 1, 0, 3);
  const Tensor original = draw({1, 3, heads.packed_width()}, "qkv");
  Tensor leaf = original.clone().set_requires_grad(true);
  EXPECT_NE(rotary({}, leaf, heads, tables).data_ptr(), leaf.data_ptr());
  EXPECT_TENSORS_CLOSE(leaf.detach(), original, testing::exact());
  const torch::NoGradGuard no_gradients;
  EXPECT_EQ(rotary({}, leaf, heads, tables).data_ptr(), leaf.data_ptr());
}

TEST(Rotary, GradientsByCentralDifferences) {
  const AttentionHeads heads{2, 1, 6};
  const RotaryTables tables = rotary_tables(frequencies(4), 1.5, 1, 3);
  EXPECT_GRADIENTS([&](const std::vector<Tensor>& in) { return rotary({}, in[0].clone(), heads, tables); },
                   {draw({1, 3, heads.packed_width()}, "qkv")},
                   testing::float_gradients({.absolute = 1e-2, .relative = 1e-2}));
}

TEST(Rotary, ScoresDependOnDistanceOnly) {
  const AttentionHeads heads{1, 1, 8};
  const Tensor qkv = draw({2, heads.packed_width()}, "qkv");
  const auto score = [&](int64_t first, int64_t distance) {
    const RotaryTables all = rotary_tables(frequencies(8), 1, first, distance + 1);
    const Tensor ends = torch::tensor({int64_t{0}, distance});
    const RotaryTables tables{all.cosine.index_select(0, ends), all.sine.index_select(0, ends)};
    const Tensor turned = rotary({}, qkv.clone(), heads, tables);
    return turned[1].narrow(0, 0, 8).dot(turned[0].narrow(0, 8, 8)).item<double>();
  };
  EXPECT_NEAR(score(0, 3), score(90, 3), 1e-4);
  EXPECT_GT(std::abs(score(0, 3) - score(0, 4)), 1e-3);
}

TEST(Rotary, RefusesShapesThatDoNotFit) {
  const AttentionHeads heads{2, 2, 4};
  const RotaryTables three = rotary_tables(frequencies(4), 1, 0, 3), four = rotary_tables(frequencies(4), 1, 0, 4);
  EXPECT_NO_THROW(rotary({}, draw({2, 3, 24}, "qkv"), heads, three));
  for (const bool kernels : {true, false}) {
    const Settings settings{.kernels = kernels};
    EXPECT_THROW(rotary(settings, draw({2, 3, 24}, "qkv"), heads, four), base::Error);
    EXPECT_THROW(rotary(settings, draw({6, 24}, "qkv"), heads, three), base::Error);
    EXPECT_THROW(rotary(settings, draw({2, 3, 20}, "qkv"), heads, three), base::Error);
    EXPECT_THROW(rotary(settings, draw({2, 3, 24}, "qkv"), heads, rotary_tables(frequencies(6), 1, 0, 3)), base::Error);
    EXPECT_THROW(rotary(settings, draw({2, 3, 24}, "qkv"), heads, {three.cosine, four.sine}), base::Error);
  }
  EXPECT_THROW(rotary_tables(frequencies(4), 1, -1, 3), base::Error);
}

}  // namespace
}  // namespace incontext::ops
