#include "ops/attention.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/agreement.h"
#include "support/gradient_check.h"

namespace incontext::ops {
namespace {

using testing::draw;
using torch::Tensor;

const testing::Tolerance kTolerance = testing::accumulated(testing::kEpsilonF32, 64, 30);

TEST(Attention, AgreesWithLibtorchInDouble) {
  for (const AttentionHeads heads : {AttentionHeads{2, 2, 4}, AttentionHeads{4, 2, 3}, AttentionHeads{3, 1, 8}}) {
    for (const bool causal : {true, false}) {
      for (const int64_t time : {1, 7, 33}) {
        SCOPED_TRACE(fmt::format("heads {} kv {} causal {} time {}", heads.heads, heads.kv_heads, causal, time));
        testing::expect_agreement(
            [&](const Settings& settings, const std::vector<Tensor>& in) {
              return attention(settings, in[0], heads, causal);
            },
            {draw({2, time, heads.packed_width()}, "qkv")}, kTolerance);
      }
    }
  }
}

TEST(Attention, GradientsByCentralDifferences) {
  const AttentionHeads heads{2, 1, 2};
  EXPECT_GRADIENTS([&](const std::vector<Tensor>& in) { return attention({}, in[0], heads, true); },
                   {draw({1, 4, heads.packed_width()}, "qkv")},
                   testing::float_gradients({.absolute = 1e-2, .relative = 1e-2}));
}

TEST(Attention, CausalAttentionSeesNoFuture) {
  const AttentionHeads heads{2, 2, 4};
  const Tensor qkv = draw({1, 9, heads.packed_width()}, "qkv");
  Tensor changed = qkv.clone();
  changed.narrow(1, 5, 4).fill_(7);
  const Tensor before = attention({}, qkv, heads, true).narrow(1, 0, 5).clone();
  const Tensor after = attention({}, changed, heads, true).narrow(1, 0, 5).clone();
  EXPECT_TENSORS_CLOSE(after, before, testing::exact());
}

TEST(Rotary, AgreesWithLibtorchInDouble) {
  const AttentionHeads heads{2, 1, 6};
  testing::expect_agreement(
      [&](const Settings& settings, const std::vector<Tensor>& in) {
        return rotary(settings, in[0], heads, torch::arange(5, torch::kInt64), 10000);
      },
      {draw({2, 5, heads.packed_width()}, "qkv")}, kTolerance);
}

TEST(Rotary, ScoresDependOnDistanceOnly) {
  const AttentionHeads heads{1, 1, 8};
  const Tensor qkv = draw({1, 2, heads.packed_width()}, "qkv");
  const auto score = [&](int64_t first) {
    const Tensor turned = rotary({}, qkv, heads, torch::tensor({first, first + 3}), 10000);
    return turned.index({0, 1}).narrow(0, 0, 8).dot(turned.index({0, 0}).narrow(0, 8, 8)).item<double>();
  };
  EXPECT_NEAR(score(0), score(90), 1e-4);
  EXPECT_GT(std::abs(score(0) - rotary({}, qkv, heads, torch::tensor({0, 4}), 10000)
                                    .index({0, 1})
                                    .narrow(0, 0, 8)
                                    .dot(qkv.index({0, 0}).narrow(0, 8, 8))
                                    .item<double>()),
            1e-3);
}

TEST(Attention, RefusesShapesThatDoNotFit) {
  EXPECT_THROW(attention({}, draw({2, 3, 24}, "qkv"), {2, 2, 5}, true), base::Error);
  EXPECT_THROW(attention({}, draw({2, 3, 28}, "qkv"), {3, 2, 4}, true), base::Error);
  EXPECT_THROW(rotary({}, draw({2, 3, 24}, "qkv"), {2, 2, 4}, torch::arange(4), 1e4), base::Error);
}

}  // namespace
}  // namespace incontext::ops
