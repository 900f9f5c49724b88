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

// A block's first half, where tokens 0, n, 2n, … ask.
Tensor project_and_attend(const Settings& settings, const std::vector<Tensor>& in, const AttentionHeads& heads,
                          int64_t every) {
  const Tensor qkv = project_qkv(settings, in[0], in[1], in.size() > 2 ? in[2] : Tensor(), heads, Keep::f32, every);
  return attention(settings, qkv, heads, /*causal=*/true, Keep::f32, every);
}

TEST(Attention, AgreesWhereSomeTokensAsk) {
  for (const AttentionHeads heads : {AttentionHeads{2, 2, 4}, AttentionHeads{4, 2, 3}}) {
    for (const int64_t every : {1, 2, 3}) {
      for (const bool bias : {true, false}) {
        SCOPED_TRACE(fmt::format("heads {} kv {} every {} bias {}", heads.heads, heads.kv_heads, every, bias));
        std::vector<Tensor> inputs = {draw({2, 12, 10}, "x"), draw({heads.packed_width(), 10}, "w", 0.3)};
        if (bias) inputs.push_back(draw({heads.packed_width()}, "b"));
        testing::expect_agreement(
            [&](const Settings& settings, const std::vector<Tensor>& in) {
              const Tensor out = project_and_attend(settings, in, heads, every);
              EXPECT_EQ(out.sizes(), (std::vector<int64_t>{2, 12 / every, heads.heads * heads.head_dim}));
              return out;
            },
            inputs, kTolerance);
      }
    }
  }
}

TEST(Attention, TokensThatAskGetWhatAllWouldGet) {
  const AttentionHeads heads{2, 2, 16};
  const std::vector<Tensor> in = {draw({3, 82, 32}, "x"), draw({heads.packed_width(), 32}, "w", 0.3)};
  const Tensor all = project_and_attend({}, in, heads, 1), some = project_and_attend({}, in, heads, 2);
  EXPECT_TENSORS_CLOSE(some, all.slice(1, 0, 82, 2).contiguous(), testing::exact());
}

TEST(Attention, WeightsAloneGetGradientsWhereSomeTokensAsk) {
  const AttentionHeads heads{2, 1, 4};
  const Tensor x = draw({2, 6, 10}, "x");
  Tensor weight = draw({heads.packed_width(), 10}, "w", 0.3).set_requires_grad(true);
  Tensor bias = draw({heads.packed_width()}, "b");
  std::vector<Tensor> gradients;
  for (const bool kernels : {true, false}) {
    weight.mutable_grad() = Tensor();
    project_and_attend({.kernels = kernels}, {x, weight, bias}, heads, 2).square().sum().backward();
    gradients.push_back(weight.grad().clone());
  }
  EXPECT_TENSORS_CLOSE(gradients[0], gradients[1], testing::accumulated(testing::kEpsilonF32, 64, 100));
}

TEST(Attention, GradientsByCentralDifferences) {
  const AttentionHeads heads{2, 1, 2};
  EXPECT_GRADIENTS([&](const std::vector<Tensor>& in) { return attention({}, in[0], heads, true); },
                   {draw({1, 4, heads.packed_width()}, "qkv")},
                   testing::float_gradients({.absolute = 1e-2, .relative = 1e-2}));
  EXPECT_GRADIENTS([&](const std::vector<Tensor>& in) { return project_and_attend({}, in, heads, 2); },
                   {draw({1, 4, 3}, "x"), draw({heads.packed_width(), 3}, "w"), draw({heads.packed_width()}, "b")},
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
  const Tensor x = draw({2, 3, 5}, "x"), weight = draw({24, 5}, "w");
  EXPECT_THROW(project_qkv({}, x, weight, {}, {2, 2, 5}), base::Error);
  EXPECT_THROW(project_qkv({}, x, weight, {}, {2, 2, 4}, Keep::f32, 2), base::Error);
  EXPECT_THROW(attention({}, draw({2, 3, 24}, "qkv"), {2, 2, 4}, true, Keep::f32, 2), base::Error);
  EXPECT_THROW(rotary({}, draw({2, 3, 24}, "qkv"), {2, 2, 4}, torch::arange(4), 1e4), base::Error);
}

}  // namespace
}  // namespace incontext::ops
