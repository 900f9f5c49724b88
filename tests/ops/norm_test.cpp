#include "ops/norm.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/agreement.h"
#include "support/gradient_check.h"

namespace incontext::ops {
namespace {

using kernels::NormKind;
using testing::draw;
using torch::Tensor;

// Both outputs in one, so that both gradients arrive.
Tensor both(const Settings& settings, NormKind kind, const std::vector<Tensor>& in) {
  const Normed result = norm(settings, kind, in[0], in[1], kind == NormKind::layer ? in[2] : Tensor(), 1e-5);
  return torch::cat({result.normed, result.residual}, -1);
}

TEST(Norm, AgreesWithLibtorchInDouble) {
  const std::vector<Tensor> inputs = {draw({3, 4, 21}, "x"), draw({21}, "gamma"), draw({21}, "beta")};
  for (const NormKind kind : {NormKind::layer, NormKind::rms}) {
    testing::expect_agreement(
        [&](const Settings& settings, const std::vector<Tensor>& in) { return both(settings, kind, in); }, inputs,
        testing::accumulated(testing::kEpsilonF32, 64, 30));
  }
}

TEST(Norm, SomeTokensGoOn) {
  const std::vector<Tensor> inputs = {draw({2, 6, 9}, "x"), draw({9}, "gamma"), draw({9}, "beta")};
  for (const kernels::Reads& reads : {kernels::Reads{0, 2}, {0, 3}, {1, 3}, {5, 6}, {0, 4}, {4, 1}}) {
    testing::expect_agreement(
        [&](const Settings& settings, const std::vector<Tensor>& in) {
          const Normed result = norm(settings, NormKind::layer, in[0], in[1], in[2], 1e-5, Keep::f32, reads);
          EXPECT_EQ(result.residual.sizes(), (std::vector<int64_t>{2, reads.count(6), 9}));
          return torch::cat({result.normed.flatten(), result.residual.flatten()});
        },
        inputs, testing::accumulated(testing::kEpsilonF32, 64, 30));
  }
}

TEST(Norm, GradientsByCentralDifferences) {
  const std::vector<Tensor> inputs = {draw({2, 5}, "x"), draw({5}, "gamma"), draw({5}, "beta")};
  for (const NormKind kind : {NormKind::layer, NormKind::rms}) {
    EXPECT_GRADIENTS([&](const std::vector<Tensor>& in) { return both({}, kind, in); }, inputs,
                     testing::float_gradients({.absolute = 1e-2, .relative = 1e-2}));
  }
}

TEST(Norm, UnusedOutputsNeedNoGradient) {
  for (const bool normed : {true, false}) {
    Tensor x = draw({2, 5}, "x").set_requires_grad(true);
    const Normed result = norm({}, NormKind::layer, x, torch::ones({5}), torch::zeros({5}), 1e-5);
    (normed ? result.normed : result.residual).square().sum().backward();
    Tensor reference = draw({2, 5}, "x").set_requires_grad(true);
    const Normed expected =
        norm({.kernels = false}, NormKind::layer, reference, torch::ones({5}), torch::zeros({5}), 1e-5);
    (normed ? expected.normed : expected.residual).square().sum().backward();
    EXPECT_TENSORS_CLOSE(x.grad(), reference.grad(), testing::accumulated(testing::kEpsilonF32, 64, 10));
  }
  Tensor x = draw({2, 4, 5}, "x").set_requires_grad(true);
  norm({}, NormKind::layer, x, torch::ones({5}), torch::zeros({5}), 1e-5, Keep::f32, {0, 2}).residual.sum().backward();
  EXPECT_TENSORS_CLOSE(x.grad().select(2, 0).contiguous(), torch::tensor({{1.0, 0.0, 1.0, 0.0}, {1.0, 0.0, 1.0, 0.0}}),
                       testing::exact());
}

TEST(Norm, RefusesReadsBeyondTheEnd) {
  const Tensor gamma = torch::ones({5});
  for (const bool kernels : {true, false}) {
    const Settings settings{.kernels = kernels};
    EXPECT_THROW(norm(settings, NormKind::rms, draw({2, 3, 5}, "x"), gamma, {}, 1e-5, Keep::f32, {3, 2}), base::Error);
    EXPECT_THROW(norm(settings, NormKind::rms, draw({4, 5}, "x"), gamma, {}, 1e-5, Keep::f32, {0, 2}), base::Error);
  }
}

}  // namespace
}  // namespace incontext::ops
