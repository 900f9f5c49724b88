#include "ops/norm_heads.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/agreement.h"
#include "ops/norm.h"
#include "support/gradient_check.h"

namespace incontext::ops {
namespace {

using kernels::Reads;
using testing::draw;
using torch::Tensor;

constexpr double kEpsilon = 1e-5;
const testing::Tolerance kNormTolerance = testing::accumulated(testing::kEpsilonF32, 64, 30);

std::vector<Tensor> inputs_of(torch::IntArrayRef shape, const AttentionHeads& heads) {
  return {draw(shape, "qkv"), draw({heads.head_dim}, "query", 0.2) + 1, draw({heads.head_dim}, "key", 0.2) + 1};
}

TEST(NormHeads, AgreesWithLibtorchInDouble) {
  for (const AttentionHeads heads : {AttentionHeads{2, 2, 8}, AttentionHeads{4, 1, 5}}) {
    const int64_t width = heads.packed_width();
    for (const auto& shape : {std::vector<int64_t>{2, 5, width}, {7, width}, {1, width}, {1, 1, width}}) {
      SCOPED_TRACE(fmt::format("heads {} rank {}", heads.heads, shape.size()));
      testing::expect_agreement(
          [&](const Settings& settings, const std::vector<Tensor>& in) {
            return norm_heads(settings, in[0].clone(), heads, in[1], in[2], kEpsilon);
          },
          inputs_of(shape, heads), kNormTolerance);
    }
  }
}

// A block's first half with norms of heads. The queries of tokens that are not read are left undefined on the way.
TEST(NormHeads, AgreesWhereSomeTokensAreRead) {
  const AttentionHeads heads{4, 2, 6};
  for (const Reads& reads : {Reads{}, {0, 2}, {1, 3}, {11, 12}, {0, 5}, {10, 1}}) {  // the last two: not regular
    SCOPED_TRACE(fmt::format("reads {} + n {}", reads.first, reads.every));
    testing::expect_agreement(
        [&](const Settings& settings, const std::vector<Tensor>& in) {
          Tensor qkv = project_qkv(settings, in[0], in[1], {}, heads, Keep::f32, reads);
          qkv = norm_heads(settings, qkv, heads, in[2], in[3], kEpsilon, reads);
          return attention(settings, qkv, heads, {.reads = reads});
        },
        {draw({2, 12, 10}, "x"), draw({heads.packed_width(), 10}, "w", 0.3), draw({6}, "query", 0.2) + 1,
         draw({6}, "key", 0.2) + 1},
        kNormTolerance);
  }
}

TEST(NormHeads, IsTheNormOfEveryHead) {
  const AttentionHeads heads{3, 2, 16};
  const std::vector<Tensor> in = inputs_of({9, heads.packed_width()}, heads);
  const Tensor normed = norm_heads({}, in[0].clone(), heads, in[1], in[2], kEpsilon).view({9, 7, 16});
  const Tensor split = in[0].view({9, 7, 16});
  for (int64_t h = 0; h < 7; ++h) {
    const Tensor head = split.select(1, h).contiguous();
    const Tensor expected =
        h < 5 ? norm({}, kernels::NormKind::rms, head, h < 3 ? in[1] : in[2], {}, kEpsilon).normed : head;
    EXPECT_TENSORS_CLOSE(normed.select(1, h).contiguous(), expected, testing::exact());
  }
}

TEST(NormHeads, WholeSequencesGetTheBitsOfTheirTokens) {
  const AttentionHeads heads{2, 1, 20};
  const std::vector<Tensor> in = inputs_of({3, 7, heads.packed_width()}, heads);
  const Tensor whole = norm_heads({}, in[0].clone(), heads, in[1], in[2], kEpsilon);
  for (int64_t t = 0; t < 7; ++t) {
    const Tensor alone = norm_heads({}, in[0][1].narrow(0, t, 1).clone(), heads, in[1], in[2], kEpsilon);
    EXPECT_TENSORS_CLOSE(alone, whole[1].narrow(0, t, 1).clone(), testing::exact());
  }
  EXPECT_TENSORS_CLOSE(norm_heads({}, in[0].clone().set_requires_grad(true), heads, in[1], in[2], kEpsilon).detach(),
                       whole, testing::exact());
}

TEST(NormHeads, OverwritesOnlyWhatNeedsNoGradient) {
  const AttentionHeads heads{2, 1, 4};
  std::vector<Tensor> in = inputs_of({2, 3, heads.packed_width()}, heads);
  EXPECT_EQ(norm_heads({}, in[0], heads, in[1], in[2], kEpsilon).data_ptr(), in[0].data_ptr());
  const Tensor before = in[0].clone();
  in[2].set_requires_grad(true);
  EXPECT_NE(norm_heads({}, in[0], heads, in[1], in[2], kEpsilon).data_ptr(), in[0].data_ptr());
  EXPECT_TENSORS_CLOSE(in[0], before, testing::exact());
}

TEST(NormHeads, GradientsByCentralDifferences) {
  const AttentionHeads heads{2, 1, 3};
  for (const auto& shape : {std::vector<int64_t>{1, 2, heads.packed_width()}, {2, heads.packed_width()}}) {
    EXPECT_GRADIENTS(
        [&](const std::vector<Tensor>& in) { return norm_heads({}, in[0].clone(), heads, in[1], in[2], kEpsilon); },
        inputs_of(shape, heads), testing::float_gradients({.absolute = 1e-2, .relative = 1e-2}));
  }
}

TEST(NormHeads, RefusesShapesThatDoNotFit) {
  const AttentionHeads heads{2, 1, 4};
  const Tensor gamma = torch::ones({4}), qkv = draw({2, 3, 16}, "qkv");
  for (const bool kernels : {true, false}) {
    const Settings settings{.kernels = kernels};
    EXPECT_THROW(norm_heads(settings, draw({2, 3, 12}, "qkv"), heads, gamma, gamma, kEpsilon), base::Error);
    EXPECT_THROW(norm_heads(settings, qkv, heads, torch::ones({3}), gamma, kEpsilon), base::Error);
    EXPECT_THROW(norm_heads(settings, qkv, heads, gamma, torch::ones({5}), kEpsilon), base::Error);
    EXPECT_THROW(norm_heads(settings, qkv, heads, gamma, gamma, kEpsilon, {3, 1}), base::Error);
  }
}

}  // namespace
}  // namespace incontext::ops
