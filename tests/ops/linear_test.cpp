#include "ops/linear.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/agreement.h"
#include "support/gradient_check.h"

namespace incontext::ops {
namespace {

using testing::draw;
using torch::Tensor;

const std::vector<Tensor> kInputs = {draw({2, 7, 5}, "x"), draw({9, 5}, "w"), draw({9}, "b"), draw({2, 7, 9}, "r")};

TEST(Linear, AgreesWithLibtorchInDouble) {
  testing::expect_agreement([](const Settings& settings,
                               const std::vector<Tensor>& in) { return linear(settings, in[0], in[1], in[2], in[3]); },
                            kInputs, testing::accumulated(testing::kEpsilonF32, 64, 20));
  testing::expect_agreement(
      [](const Settings& settings, const std::vector<Tensor>& in) { return linear(settings, in[0], in[1]); },
      {kInputs[0], kInputs[1]}, testing::accumulated(testing::kEpsilonF32, 64, 20));
}

TEST(Linear, GradientsByCentralDifferences) {
  EXPECT_GRADIENTS([](const std::vector<Tensor>& in) { return linear({}, in[0], in[1], in[2], in[3]); },
                   {draw({3, 4}, "x"), draw({2, 4}, "w"), draw({2}, "b"), draw({3, 2}, "r")},
                   testing::float_gradients());
}

TEST(Linear, Bf16RoundsFactorsOnly) {
  // 1 + 2^-9 is not a bf16 number: as a factor it becomes 1, as a bias it stays.
  const Tensor almost_one = torch::full({1, 1}, 1 + 0x1.0p-9);
  const Settings bf16{.precision = kernels::Precision::bf16};
  EXPECT_EQ(linear(bf16, almost_one, torch::ones({1, 1})).item<float>(), 1.0F);
  EXPECT_EQ(linear(bf16, torch::zeros({1, 1}), torch::ones({1, 1}), almost_one.view({1})).item<float>(), 1 + 0x1.0p-9F);
  EXPECT_EQ(linear({}, almost_one, torch::ones({1, 1})).item<float>(), 1 + 0x1.0p-9F);
}

TEST(Linear, Bf16SumsInFp32) {
  // 300 ones: a bf16 sum would stop at 256.
  const Settings bf16{.precision = kernels::Precision::bf16};
  EXPECT_EQ(linear(bf16, torch::ones({1, 301}), torch::ones({1, 301})).item<float>(), 301.0F);
}

TEST(Linear, RefusesShapesThatDoNotFit) {
  EXPECT_THROW(linear({}, kInputs[0], draw({9, 4}, "w")), base::Error);
  EXPECT_THROW(linear({}, kInputs[0], kInputs[1], draw({8}, "b")), base::Error);
  EXPECT_THROW(linear({}, kInputs[0], kInputs[1], kInputs[2], draw({2, 6, 9}, "r")), base::Error);
}

}  // namespace
}  // namespace incontext::ops
