#include "train/optimizer.h"

#include <gtest/gtest.h>
#include <torch/optim.h>

#include "support/tensor_close.h"

namespace incontext::train {
namespace {

using torch::Tensor;

std::vector<models::NamedTensor> make_parameters() {
  std::vector<models::NamedTensor> parameters = {{"a", torch::linspace(-1, 1, 37).set_requires_grad(true)},
                                                 {"b", torch::linspace(2, -3, 12).view({3, 4}).clone()}};
  parameters[1].tensor.set_requires_grad(true);
  return parameters;
}

void set_gradients(std::vector<models::NamedTensor>& parameters, double factor) {
  for (models::NamedTensor& parameter : parameters) {
    parameter.tensor.mutable_grad() = (parameter.tensor.detach() * factor).sin();
  }
}

// libtorch's own optimizers are the reference.
template <class Reference, class ReferenceOptions>
void expect_same_as(const OptimizerOptions& options, const ReferenceOptions& reference_options, bool kernels) {
  auto ours = make_parameters();
  auto theirs = make_parameters();
  Optimizer optimizer(options, ours);
  Reference reference({theirs[0].tensor, theirs[1].tensor}, reference_options);
  for (int64_t step = 1; step <= 20; ++step) {
    set_gradients(ours, static_cast<double>(step));
    set_gradients(theirs, static_cast<double>(step));
    optimizer.step(0.05, 1, step, kernels);
    reference.step();
  }
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_TENSORS_CLOSE(ours[i].tensor.detach(), theirs[i].tensor.detach(),
                         (testing::Tolerance{.absolute = 1e-5, .relative = 1e-5}));
  }
}

class OptimizerTest : public ::testing::TestWithParam<bool> {};

TEST_P(OptimizerTest, AdamIsLibtorchsAdam) {
  expect_same_as<torch::optim::Adam>({.name = UpdateRule::adam}, torch::optim::AdamOptions(0.05), GetParam());
  expect_same_as<torch::optim::Adam>({.name = UpdateRule::adam, .beta2 = 0.98, .weight_decay = 0.1},
                                     torch::optim::AdamOptions(0.05).betas({0.9, 0.98}).weight_decay(0.1), GetParam());
}

TEST_P(OptimizerTest, AdamwIsLibtorchsAdamw) {
  expect_same_as<torch::optim::AdamW>({.name = UpdateRule::adamw, .weight_decay = 0.1},
                                      torch::optim::AdamWOptions(0.05).weight_decay(0.1), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Paths, OptimizerTest, ::testing::Bool());

TEST(Optimizer, GradientNormIsEuclidean) {
  auto parameters = make_parameters();
  Optimizer optimizer({}, parameters);
  parameters[0].tensor.mutable_grad() = torch::full({37}, 2.0);
  parameters[1].tensor.mutable_grad() = torch::full({3, 4}, -1.0);
  EXPECT_NEAR(optimizer.gradient_norm(), std::sqrt(37 * 4.0 + 12), 1e-9);
  parameters[1].tensor.mutable_grad() = Tensor();
  EXPECT_NEAR(optimizer.gradient_norm(), std::sqrt(37 * 4.0), 1e-9) << "a parameter without gradient counts as zero";
}

TEST(Optimizer, GradientScaleIsTheGradientScaled) {
  for (const bool kernels : {true, false}) {
    auto scaled = make_parameters();
    auto plain = make_parameters();
    Optimizer first({}, scaled);
    Optimizer second({}, plain);
    set_gradients(scaled, 1);
    set_gradients(plain, 1);
    for (models::NamedTensor& parameter : plain) parameter.tensor.mutable_grad() *= 0.25;
    first.step(0.1, 0.25, 1, kernels);
    second.step(0.1, 1, 1, kernels);
    EXPECT_TENSORS_CLOSE(scaled[0].tensor.detach(), plain[0].tensor.detach(), (testing::Tolerance{.absolute = 1e-7}));
  }
}

}  // namespace
}  // namespace incontext::train
