#include "ops/attention.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/agreement.h"
#include "support/gradient_check.h"

namespace incontext::ops {
namespace {

using kernels::Reads;
using testing::draw;
using torch::Tensor;

const testing::Tolerance kAttentionTolerance = testing::accumulated(testing::kEpsilonF32, 64, 30);

TEST(Attention, AgreesWithLibtorchInDouble) {
  for (const AttentionHeads heads : {AttentionHeads{2, 2, 4}, AttentionHeads{4, 2, 3}, AttentionHeads{3, 1, 8}}) {
    for (const bool causal : {true, false}) {
      for (const int64_t time : {1, 7, 33}) {
        SCOPED_TRACE(fmt::format("heads {} kv {} causal {} time {}", heads.heads, heads.kv_heads, causal, time));
        testing::expect_agreement(
            [&](const Settings& settings, const std::vector<Tensor>& in) {
              return attention(settings, in[0], heads, {.causal = causal});
            },
            {draw({2, time, heads.packed_width()}, "qkv")}, kAttentionTolerance);
      }
    }
  }
}

// A block's first half, where some tokens are read.
Tensor project_and_attend(const Settings& settings, const std::vector<Tensor>& in, const AttentionHeads& heads,
                          const Reads& reads, int64_t window = 0) {
  const Tensor qkv = project_qkv(settings, in[0], in[1], in.size() > 2 ? in[2] : Tensor(), heads, Keep::f32, reads);
  return attention(settings, qkv, heads, {.window = window, .reads = reads});
}

// {0, 5}, {10, 1} and {3, 2} are not regular for 12 tokens.
const Reads kEveryKind[] = {{0, 1}, {0, 2}, {0, 3}, {1, 3}, {1, 6}, {11, 12}, {0, 5}, {10, 1}, {3, 2}};

TEST(Attention, AgreesWhereSomeTokensAreRead) {
  for (const AttentionHeads heads : {AttentionHeads{2, 2, 4}, AttentionHeads{4, 2, 3}}) {
    for (const Reads& reads : kEveryKind) {
      for (const bool bias : {true, false}) {
        SCOPED_TRACE(fmt::format("heads {} kv {} reads {} + n {} bias {}", heads.heads, heads.kv_heads, reads.first,
                                 reads.every, bias));
        std::vector<Tensor> inputs = {draw({2, 12, 10}, "x"), draw({heads.packed_width(), 10}, "w", 0.3)};
        if (bias) inputs.push_back(draw({heads.packed_width()}, "b"));
        testing::expect_agreement(
            [&](const Settings& settings, const std::vector<Tensor>& in) {
              const Tensor out = project_and_attend(settings, in, heads, reads);
              EXPECT_EQ(out.sizes(), (std::vector<int64_t>{2, reads.count(12), heads.heads * heads.head_dim}));
              return out;
            },
            inputs, kAttentionTolerance);
      }
    }
  }
}

TEST(Attention, TokensThatAreReadGetWhatAllWouldGet) {
  const AttentionHeads heads{2, 2, 16};
  const std::vector<Tensor> in = {draw({3, 82, 32}, "x"), draw({heads.packed_width(), 32}, "w", 0.3)};
  for (const int64_t window : {0, 20}) {
    const Tensor all = project_and_attend({}, in, heads, {}, window);
    for (const Reads& reads : {Reads{0, 2}, {1, 2}, {81, 82}, {1, 3}, {2, 41}}) {
      SCOPED_TRACE(fmt::format("reads {} + n {}", reads.first, reads.every));
      EXPECT_TENSORS_CLOSE(project_and_attend({}, in, heads, reads, window),
                           all.slice(1, reads.first, 82, reads.every).contiguous(), testing::exact());
    }
  }
}

TEST(Attention, WeightsAloneGetGradientsWhereSomeTokensAreRead) {
  const AttentionHeads heads{2, 1, 4};
  const Tensor x = draw({2, 6, 10}, "x");
  Tensor weight = draw({heads.packed_width(), 10}, "w", 0.3).set_requires_grad(true);
  Tensor bias = draw({heads.packed_width()}, "b");
  std::vector<Tensor> gradients;
  for (const bool kernels : {true, false}) {
    weight.mutable_grad() = Tensor();
    project_and_attend({.kernels = kernels}, {x, weight, bias}, heads, {0, 2}).square().sum().backward();
    gradients.push_back(weight.grad().clone());
  }
  EXPECT_TENSORS_CLOSE(gradients[0], gradients[1], testing::accumulated(testing::kEpsilonF32, 64, 100));
}

TEST(Attention, GradientsByCentralDifferences) {
  const AttentionHeads heads{2, 1, 2};
  EXPECT_GRADIENTS([&](const std::vector<Tensor>& in) { return attention({}, in[0], heads); },
                   {draw({1, 4, heads.packed_width()}, "qkv")},
                   testing::float_gradients({.absolute = 1e-2, .relative = 1e-2}));
  EXPECT_GRADIENTS(
      [&](const std::vector<Tensor>& in) { return attention({}, in[0], heads, {.window = 2, .scale = 0.9}); },
      {draw({1, 4, heads.packed_width()}, "qkv")}, testing::float_gradients({.absolute = 1e-2, .relative = 1e-2}));
  for (const Reads& reads : {Reads{0, 2}, {1, 2}, {0, 3}}) {
    EXPECT_GRADIENTS([&](const std::vector<Tensor>& in) { return project_and_attend({}, in, heads, reads, 3); },
                     {draw({1, 4, 3}, "x"), draw({heads.packed_width(), 3}, "w"), draw({heads.packed_width()}, "b")},
                     testing::float_gradients({.absolute = 1e-2, .relative = 1e-2}));
  }
}

TEST(Attention, CausalAttentionSeesNoFuture) {
  const AttentionHeads heads{2, 2, 4};
  const Tensor qkv = draw({1, 9, heads.packed_width()}, "qkv");
  Tensor changed = qkv.clone();
  changed.narrow(1, 5, 4).fill_(7);
  const Tensor before = attention({}, qkv, heads).narrow(1, 0, 5).clone();
  const Tensor after = attention({}, changed, heads).narrow(1, 0, 5).clone();
  EXPECT_TENSORS_CLOSE(after, before, testing::exact());
}

TEST(Attention, AgreesWithinAWindowAndAtAScale) {
  for (const AttentionHeads heads : {AttentionHeads{2, 2, 4}, AttentionHeads{4, 2, 3}}) {
    for (const int64_t window : {1, 4, 16, 40}) {
      for (const double scale : {0.0, 0.3}) {
        for (const Reads& reads : {Reads{}, {1, 3}, {0, 2}}) {  // of 33 tokens the last is not regular
          SCOPED_TRACE(fmt::format("heads {} kv {} window {} scale {} reads {} + n {}", heads.heads, heads.kv_heads,
                                   window, scale, reads.first, reads.every));
          testing::expect_agreement(
              [&](const Settings& settings, const std::vector<Tensor>& in) {
                const Tensor qkv = project_qkv(settings, in[0], in[1], {}, heads, Keep::f32, reads);
                return attention(settings, qkv, heads, {.window = window, .scale = scale, .reads = reads});
              },
              {draw({2, 33, 10}, "x"), draw({heads.packed_width(), 10}, "w", 0.3)}, kAttentionTolerance);
        }
      }
    }
  }
}

TEST(Attention, AWindowHidesWhatLiesBeforeIt) {
  const AttentionHeads heads{2, 2, 4};
  const Tensor qkv = draw({1, 9, heads.packed_width()}, "qkv");
  Tensor changed = qkv.clone();
  changed.narrow(1, 2, 1).fill_(7);
  for (const bool kernels : {true, false}) {
    const auto attend = [&](const Tensor& x) { return attention({.kernels = kernels}, x, heads, {.window = 3})[0]; };
    const Tensor difference = (attend(changed) - attend(qkv)).abs().amax(1);
    for (int64_t token = 0; token < 9; ++token) {
      EXPECT_EQ(difference[token].item<double>() > 0, token >= 2 && token < 5) << token;
    }
  }
  // A window of all tokens is none, bit for bit.
  EXPECT_TENSORS_CLOSE(attention({}, qkv, heads, {.window = 9}), attention({}, qkv, heads), testing::exact());
}

TEST(Attention, RefusesShapesThatDoNotFit) {
  EXPECT_THROW(attention({}, draw({2, 3, 24}, "qkv"), {2, 2, 5}), base::Error);
  EXPECT_THROW(attention({}, draw({2, 3, 28}, "qkv"), {3, 2, 4}), base::Error);
  const Tensor x = draw({2, 3, 5}, "x"), weight = draw({24, 5}, "w");
  EXPECT_THROW(project_qkv({}, x, weight, {}, {2, 2, 5}), base::Error);
  EXPECT_THROW(project_qkv({}, x, weight, {}, {2, 2, 4}, Keep::f32, {3, 1}), base::Error);
  EXPECT_THROW(attention({}, draw({2, 3, 24}, "qkv"), {2, 2, 4}, {.reads = {3, 1}}), base::Error);
  EXPECT_THROW(attention({}, draw({2, 3, 24}, "qkv"), {2, 2, 4}, {.causal = false, .window = 2}), base::Error);
  EXPECT_THROW(attention({}, draw({2, 3, 24}, "qkv"), {2, 2, 4}, {.scale = -1}), base::Error);
}

}  // namespace
}  // namespace incontext::ops
