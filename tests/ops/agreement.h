#pragma once

#include <functional>
#include <vector>

#include "base/random.h"
#include "ops/settings.h"
#include "support/tensor_close.h"
#include "tensor/torch.h"

namespace incontext::testing {

/// Seeded normal values.
inline torch::Tensor draw(torch::IntArrayRef shape, const char* purpose, double scale = 1) {
  torch::Tensor tensor = torch::empty(shape, torch::kFloat32);
  base::RandomStream stream(1, purpose, 0);
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    tensor.data_ptr<float>()[i] = static_cast<float>(scale * stream.normal());
  }
  return tensor;
}

using Operation = std::function<torch::Tensor(const ops::Settings&, const std::vector<torch::Tensor>&)>;

/// Value and all gradients of an operation.
inline std::vector<torch::Tensor> value_and_gradients(const Operation& operation, const ops::Settings& settings,
                                                      const std::vector<torch::Tensor>& inputs,
                                                      torch::ScalarType type) {
  std::vector<torch::Tensor> leaves;
  for (const torch::Tensor& input : inputs) {
    leaves.push_back(input.detach().to(type, /*non_blocking=*/false, /*copy=*/true).set_requires_grad(true));
  }
  const torch::Tensor value = operation(settings, leaves);
  // An uneven weighting, so that gradients of different outputs cannot stand in for each other.
  const torch::Tensor weights = torch::linspace(-1.0, 1.7, value.numel(), torch::kFloat64).view(value.sizes()).to(type);
  (value * weights).sum().backward();
  std::vector<torch::Tensor> results = {value.detach()};
  for (const torch::Tensor& leaf : leaves) {
    results.push_back(leaf.grad().defined() ? leaf.grad() : torch::zeros_like(leaf));
  }
  return results;
}

/// The kernels' value and gradients in fp32 against libtorch's own operators and autograd in double.
inline void expect_agreement(const Operation& operation, const std::vector<torch::Tensor>& inputs,
                             Tolerance tolerance) {
  const auto actual = value_and_gradients(operation, {.kernels = true}, inputs, torch::kFloat32);
  const auto expected = value_and_gradients(operation, {.kernels = false}, inputs, torch::kFloat64);
  for (size_t i = 0; i < actual.size(); ++i) {
    SCOPED_TRACE(i == 0 ? std::string("value") : "gradient of input " + std::to_string(i - 1));
    EXPECT_TENSORS_CLOSE(actual[i].to(torch::kFloat64), expected[i], tolerance);
  }
}

}  // namespace incontext::testing
