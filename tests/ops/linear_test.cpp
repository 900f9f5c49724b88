#include "ops/linear.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/agreement.h"
#include "support/gradient_check.h"

namespace incontext::ops {
namespace {

using testing::draw;
using torch::Tensor;

const std::vector<Tensor> kLinearInputs = {draw({2, 7, 5}, "x"), draw({9, 5}, "w"), draw({9}, "b"),
                                           draw({2, 7, 9}, "r")};

TEST(Linear, AgreesWithLibtorchInDouble) {
  testing::expect_agreement(
      [](const Settings& settings, const std::vector<Tensor>& in) {
        return linear(settings, in[0], {in[1], in[2]}, in[3]);
      },
      kLinearInputs, testing::accumulated(testing::kEpsilonF32, 64, 20));
  testing::expect_agreement(
      [](const Settings& settings, const std::vector<Tensor>& in) { return linear(settings, in[0], {in[1]}); },
      {kLinearInputs[0], kLinearInputs[1]}, testing::accumulated(testing::kEpsilonF32, 64, 20));
}

TEST(Linear, GradientsByCentralDifferences) {
  EXPECT_GRADIENTS(
      [](const std::vector<Tensor>& in) {
        return linear(Settings{}, in[0], {in[1], in[2]}, in[3]);
      },
      {draw({3, 4}, "x"), draw({2, 4}, "w"), draw({2}, "b"), draw({3, 2}, "r")}, testing::float_gradients());
}

TEST(Linear, Bf16RoundsFactorsOnly) {
  // 1 + 2^-9 is not a bf16 number: as a factor it becomes 1, as a bias it stays.
  const Tensor almost_one = torch::full({1, 1}, 1 + 0x1.0p-9);
  const Settings bf16{.precision = kernels::Precision::bf16};
  EXPECT_EQ(linear(bf16, almost_one, {torch::ones({1, 1})}).item<float>(), 1.0F);
  EXPECT_EQ(linear(bf16, torch::zeros({1, 1}), {torch::ones({1, 1}), almost_one.view({1})}).item<float>(),
            1 + 0x1.0p-9F);
  EXPECT_EQ(linear(Settings{}, almost_one, {torch::ones({1, 1})}).item<float>(), 1 + 0x1.0p-9F);
}

TEST(Linear, Bf16SumsInFp32) {
  // 300 ones: a bf16 sum would stop at 256.
  const Settings bf16{.precision = kernels::Precision::bf16};
  EXPECT_EQ(linear(bf16, torch::ones({1, 301}), {torch::ones({1, 301})}).item<float>(), 301.0F);
}

TEST(Linear, RefusesShapesThatDoNotFit) {
  EXPECT_THROW(linear(Settings{}, kLinearInputs[0], {draw({9, 4}, "w")}), base::Error);
  EXPECT_THROW(linear(Settings{}, kLinearInputs[0], {kLinearInputs[1], draw({8}, "b")}), base::Error);
  EXPECT_THROW(linear(Settings{}, kLinearInputs[0], {kLinearInputs[1], kLinearInputs[2]}, draw({2, 6, 9}, "r")),
               base::Error);
}

// With an adapter of rank 3 on the first weight.
Tensor adapted(const Settings& settings, const std::vector<Tensor>& in) {
  auto adapter = std::make_shared<LowRank>(LowRank{in[4], in[5], 0.7});
  return linear(settings, in[0], {in[1], in[2], adapter}, in[3]);
}

const std::vector<Tensor> kAdapted = {kLinearInputs[0], kLinearInputs[1],  kLinearInputs[2],
                                      kLinearInputs[3], draw({3, 5}, "a"), draw({9, 3}, "d")};

TEST(Linear, AdaptersAreTheDenseMatrixTheyStandFor) {
  testing::expect_agreement(adapted, kAdapted, testing::accumulated(testing::kEpsilonF32, 64, 40));
  const Tensor dense = kAdapted[1] + 0.7 * torch::matmul(kAdapted[5], kAdapted[4]);
  const Tensor expected = linear(Settings{}, kAdapted[0], {dense, kAdapted[2]}, kAdapted[3]);
  EXPECT_TENSORS_CLOSE(adapted({}, kAdapted), expected, testing::accumulated(testing::kEpsilonF32, 64, 40));
  torch::NoGradGuard no_gradients;
  EXPECT_TENSORS_CLOSE(adapted({.batch_invariant = true}, kAdapted), expected,
                       testing::accumulated(testing::kEpsilonF32, 64, 40));
}

TEST(Linear, FrozenWeightsOf16BitsAreReadWhereTheyLie) {
  // More rows than are widened at a time.
  const Tensor matrix = draw({300, 37}, "frozen"), x = draw({2, 7, 37}, "frozen x"), bias = draw({300}, "frozen b");
  const Tensor residual = draw({2, 7, 300}, "frozen r");
  for (const torch::ScalarType type : {torch::kBFloat16, torch::kFloat16}) {
    const Tensor stored = matrix.to(type);
    const auto run = [&](const Settings& settings, const Tensor& weight) {
      Tensor input = x.clone().set_requires_grad(true);
      const Tensor y = linear(settings, input, {weight, bias}, residual);
      (y * torch::linspace(-1, 1.5, y.numel()).view(y.sizes())).sum().backward();
      return std::vector<Tensor>{y.detach(), input.grad()};
    };
    const std::vector<Tensor> expected = run({.kernels = false}, stored.to(torch::kFloat32));
    const std::vector<Tensor> actual = run({}, stored), composed = run({.kernels = false}, stored);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TENSORS_CLOSE(actual[i], expected[i], testing::accumulated(testing::kEpsilonF32, 600, 400));
      EXPECT_TENSORS_CLOSE(composed[i], expected[i], testing::accumulated(testing::kEpsilonF32, 600, 400));
    }
  }
  EXPECT_THROW(linear(Settings{}, x, {matrix.to(torch::kBFloat16).set_requires_grad(true)}), base::Error);
}

TEST(Linear, SideBySideIsOneAfterTheOther) {
  const std::vector<Weight> weights = {{kLinearInputs[1], kLinearInputs[2]}, {draw({4, 5}, "second")}};
  for (const bool batch_invariant : {false, true}) {
    torch::NoGradGuard no_gradients;
    const Settings settings{.batch_invariant = batch_invariant};
    const Tensor together = linear_side_by_side(settings, kLinearInputs[0], weights);
    EXPECT_TRUE(torch::equal(together.narrow(2, 0, 9), linear(settings, kLinearInputs[0], weights[0])));
    EXPECT_TRUE(torch::equal(together.narrow(2, 9, 4), linear(settings, kLinearInputs[0], weights[1])));
  }
}

TEST(Linear, BatchInvariantRowsKeepTheirBits) {
  torch::NoGradGuard no_gradients;
  const Tensor x = draw({33, 700}, "rows"), matrix = draw({21, 700}, "matrix");
  const auto adapter = std::make_shared<LowRank>(LowRank{draw({2, 700}, "a"), draw({21, 2}, "b"), 2});
  for (const Weight& weight : {Weight{matrix}, Weight{matrix.to(torch::kBFloat16), draw({21}, "bias"), adapter}}) {
    const Tensor all = linear({.batch_invariant = true}, x, weight);
    for (const int64_t row : {0, 5, 32}) {
      EXPECT_TRUE(torch::equal(linear({.batch_invariant = true}, x.narrow(0, row, 1), weight), all.narrow(0, row, 1)));
    }
  }
}

}  // namespace
}  // namespace incontext::ops
