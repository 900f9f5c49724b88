#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ops/agreement.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/mlp.h"
#include "ops/norm.h"

namespace incontext::ops {
namespace {

using kernels::Activation;
using kernels::NormKind;
using kernels::Precision;
using kernels::Reads;
using testing::draw;
using testing::Tolerance;
using torch::Tensor;

constexpr int64_t kWidth = 64;

/// A block of a decoder, as models::Decoder puts it together, of which some tokens are read.
Tensor block(const Settings& settings, const std::vector<Tensor>& in, const Reads& reads) {
  const AttentionHeads heads{2, 2, kWidth / 2};
  const Normed before = norm(settings, NormKind::layer, in[0], in[1], in[2], 1e-5, Keep::for_products, reads);
  const Tensor qkv = project_qkv(settings, before.normed, in[3], in[4], heads, Keep::for_products, reads);
  const Tensor attended = attention(settings, qkv, heads, {.reads = reads, .keep = Keep::for_products});
  const Tensor middle = linear(settings, attended, {in[5], in[6]}, before.residual);
  const Normed after = norm(settings, NormKind::layer, middle, in[1], in[2], 1e-5, Keep::for_products);
  return mlp(settings, after.normed, {{in[7], in[8]}, {in[9], in[10]}}, Activation::gelu_tanh, after.residual);
}

std::vector<Tensor> block_inputs() {
  return {draw({3, 42, kWidth}, "x"),          draw({kWidth}, "gamma", 0.2) + 1,
          draw({kWidth}, "beta", 0.2),         draw({3 * kWidth, kWidth}, "qkv", 0.15),
          draw({3 * kWidth}, "qkv_bias", 0.1), draw({kWidth, kWidth}, "out", 0.15),
          draw({kWidth}, "out_bias", 0.1),     draw({4 * kWidth, kWidth}, "up", 0.15),
          draw({4 * kWidth}, "up_bias", 0.1),  draw({kWidth, 4 * kWidth}, "down", 0.1),
          draw({kWidth}, "down_bias", 0.1)};
}

double size_of(const Tensor& tensor) { return tensor.norm().item<double>(); }

testing::Operation block_read_at(const Reads& reads) {
  return [reads](const Settings& settings, const std::vector<Tensor>& in) { return block(settings, in, reads); };
}

TEST(Keep, ABlockInBf16IsThatInDoubleToRounding) {
  const std::vector<Tensor> inputs = block_inputs();
  for (const Reads& reads : {Reads{}, {0, 2}, {1, 3}, {41, 42}, {3, 5}}) {
    const auto in_bf16 = testing::value_and_gradients(
        block_read_at(reads), {.kernels = true, .precision = Precision::bf16}, inputs, torch::kFloat32);
    const auto exactly =
        testing::value_and_gradients(block_read_at(reads), {.kernels = false}, inputs, torch::kFloat64);
    for (size_t i = 0; i < exactly.size(); ++i) {
      SCOPED_TRACE(fmt::format("reads {} + n {} {}", reads.first, reads.every,
                               i == 0 ? std::string("value") : fmt::format("gradient of input {}", i - 1)));
      EXPECT_EQ(in_bf16[i].scalar_type(), torch::kFloat32);
      // A factor keeps 8 bits, a sum of many of them a little more; a mistake shows as a part of order 1.
      const double off = size_of(in_bf16[i].to(torch::kFloat64) - exactly[i]) / size_of(exactly[i]);
      EXPECT_LT(off, 0x1p-6);
      const bool sum_alone = i == inputs.size();  // the last bias's gradient
      EXPECT_GT(off, sum_alone ? 0 : 0x1p-12) << "nothing was rounded";
    }
  }
}

TEST(Keep, ABlockInFp32IsThatInDouble) {
  for (const Reads& reads : {Reads{}, {0, 2}, {1, 3}, {41, 42}, {3, 5}}) {
    testing::expect_agreement(block_read_at(reads), block_inputs(), {.absolute = 2e-4, .relative = 1e-4});
  }
}

TEST(Keep, OnlyKernelsInBf16KeepBf16) {
  const std::vector<Tensor> in = block_inputs();
  for (const bool kernels : {false, true}) {
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      const Settings settings{.kernels = kernels, .precision = precision};
      const auto wanted = kernels && precision == Precision::bf16 ? torch::kBFloat16 : torch::kFloat32;
      const Normed normed = norm(settings, NormKind::layer, in[0], in[1], in[2], 1e-5, Keep::for_products);
      EXPECT_EQ(normed.normed.scalar_type(), wanted);
      EXPECT_EQ(normed.residual.scalar_type(), torch::kFloat32);
      const Tensor qkv = linear(settings, normed.normed, {in[3], in[4]}, {}, Keep::for_products);
      EXPECT_EQ(qkv.scalar_type(), wanted);
      const Tensor attended = attention(settings, qkv, {2, 2, kWidth / 2}, {.keep = Keep::for_products});
      EXPECT_EQ(attended.scalar_type(), wanted);
      EXPECT_EQ(linear(settings, attended, {in[5]}).scalar_type(), torch::kFloat32);
      EXPECT_EQ(attention(settings, qkv, {2, 2, kWidth / 2}).scalar_type(), torch::kFloat32);
    }
  }
}

TEST(Keep, ABiasAloneGetsItsGradient) {
  // The weight wants none: the bias's is not a by-product of the weight's then.
  const Settings settings{.precision = Precision::bf16};
  const Tensor x = draw({5, 8}, "x").to(torch::kBFloat16);
  Tensor bias = draw({3}, "b").set_requires_grad(true);
  linear(settings, x, {draw({3, 8}, "w"), bias}, {}, Keep::for_products).sum().backward();
  EXPECT_TENSORS_CLOSE(bias.grad(), torch::full({3}, 5.0), testing::exact());
}

}  // namespace
}  // namespace incontext::ops
