#include "ops/mlp.h"

#include <gtest/gtest.h>

#include "ops/agreement.h"
#include "support/gradient_check.h"

namespace incontext::ops {
namespace {

using kernels::Activation;
using testing::draw;
using torch::Tensor;

const std::vector<Tensor> kMlpInputs = {draw({2, 5, 6}, "x"),  draw({11, 6}, "up"),    draw({11}, "up_bias"),
                                        draw({6, 11}, "down"), draw({6}, "down_bias"), draw({2, 5, 6}, "residual"),
                                        draw({11, 6}, "gate")};

Tensor plain(const Settings& settings, const std::vector<Tensor>& in, Activation activation) {
  return mlp(settings, in[0], {{in[1], in[2]}, {in[3], in[4]}}, activation, in[5]);
}

Tensor gated(const Settings& settings, const std::vector<Tensor>& in) {
  return mlp(settings, in[0], {{in[1]}, {in[3]}, {in[6]}}, Activation::none, in[5]);
}

TEST(Mlp, AgreesWithLibtorchInDouble) {
  for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu_tanh}) {
    SCOPED_TRACE(static_cast<int>(activation));
    testing::expect_agreement(
        [&](const Settings& settings, const std::vector<Tensor>& in) { return plain(settings, in, activation); },
        kMlpInputs, testing::accumulated(testing::kEpsilonF32, 64, 100));
  }
  testing::expect_agreement(gated, kMlpInputs, testing::accumulated(testing::kEpsilonF32, 64, 100));
}

// Hidden rows of 2 KiB in fp32 and 1 KiB in bf16 lie further apart than they are long; rows enough to be handed on.
const std::vector<Tensor> kWideInputs = {draw({2, 35, 24}, "x"),  draw({512, 24}, "up", 0.2),
                                         draw({512}, "up_bias"),  draw({24, 512}, "down", 0.05),
                                         draw({24}, "down_bias"), draw({2, 35, 24}, "residual")};

TEST(Mlp, AgreesWhereHiddenRowsArePadded) {
  testing::expect_agreement([](const Settings& settings,
                               const std::vector<Tensor>& in) { return plain(settings, in, Activation::gelu_tanh); },
                            kWideInputs, testing::accumulated(testing::kEpsilonF32, 512, 100));
}

TEST(Mlp, InBf16IsTheOneInDoubleToRounding) {
  const testing::Operation operation = [](const Settings& settings, const std::vector<Tensor>& in) {
    return plain(settings, in, Activation::gelu_tanh);
  };
  const auto rounded = testing::value_and_gradients(operation, {.kernels = true, .precision = kernels::Precision::bf16},
                                                    kWideInputs, torch::kFloat32);
  const auto exactly = testing::value_and_gradients(operation, {.kernels = false}, kWideInputs, torch::kFloat64);
  for (size_t i = 0; i < exactly.size(); ++i) {
    SCOPED_TRACE(i);
    const double off = (rounded[i].to(torch::kFloat64) - exactly[i]).norm().item<double>();
    EXPECT_LT(off, 0x1p-6 * exactly[i].norm().item<double>());
  }
}

TEST(Mlp, GradientsByCentralDifferences) {
  const std::vector<Tensor> inputs = {draw({2, 3}, "x"),    draw({4, 3}, "up"), draw({4}, "up_bias"),
                                      draw({3, 4}, "down"), draw({3}, "db"),    draw({2, 3}, "residual"),
                                      draw({4, 3}, "gate")};
  EXPECT_GRADIENTS([](const std::vector<Tensor>& in) { return plain({}, in, Activation::gelu_tanh); }, inputs,
                   testing::float_gradients({.absolute = 1e-2, .relative = 1e-2}));
  EXPECT_GRADIENTS([](const std::vector<Tensor>& in) { return gated({}, in); }, inputs,
                   testing::float_gradients({.absolute = 1e-2, .relative = 1e-2}));
}

TEST(Mlp, RetainedGraphGivesTheSameGradientTwice) {
  for (const std::vector<Tensor>& inputs : {kMlpInputs, kWideInputs}) {
    Tensor x = inputs[0].clone().set_requires_grad(true);
    std::vector<Tensor> in = inputs;
    in[0] = x;
    const Tensor loss = plain({}, in, Activation::gelu_tanh).square().sum();
    const Tensor first = torch::autograd::grad({loss}, {x}, {}, /*retain_graph=*/true)[0];
    const Tensor second = torch::autograd::grad({loss}, {x})[0];
    EXPECT_TENSORS_CLOSE(second, first, testing::exact());
  }
}

}  // namespace
}  // namespace incontext::ops
