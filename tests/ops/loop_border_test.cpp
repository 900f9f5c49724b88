#include "ops/loop_border.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/agreement.h"
#include "support/gradient_check.h"

namespace incontext::ops {
namespace {

using testing::draw;
using torch::Tensor;

// Two borders in a row, as in a model: the second has gradients to hand to the first.
Tensor two_borders(const Settings& settings, const std::vector<Tensor>& in) {
  const LoopBorder first = loop_border(settings, in[0], in[1], in[2], in[3]);
  const LoopBorder second = loop_border(settings, first.hidden * 0.5, first.input, in[2], in[3]);
  return torch::cat(
      {first.prediction.flatten(), second.prediction.flatten(), second.hidden.flatten(), second.input.flatten()});
}

std::vector<Tensor> inputs(int64_t batch, int64_t time, int64_t width) {
  return {draw({batch, time, width}, "iterate"), draw({batch, time, width}, "input"), draw({1, width}, "weight"),
          draw({1}, "bias")};
}

TEST(LoopBorder, AgreesWithLibtorchInDouble) {
  testing::expect_agreement(two_borders, inputs(3, 4, 21), testing::accumulated(testing::kEpsilonF32, 64, 60));
}

TEST(LoopBorder, GradientsByCentralDifferences) {
  EXPECT_GRADIENTS([](const std::vector<Tensor>& in) { return two_borders({}, in); }, inputs(2, 2, 5),
                   testing::float_gradients({.absolute = 1e-2, .relative = 1e-2}));
}

TEST(LoopBorder, UnusedOutputsNeedNoGradient) {
  for (int used = 0; used < 3; ++used) {
    SCOPED_TRACE(used);
    std::vector<Tensor> gradients[2];
    for (const bool kernels : {true, false}) {
      std::vector<Tensor> in = inputs(2, 4, 5);
      for (Tensor& tensor : in) tensor.set_requires_grad(true);
      const LoopBorder border = loop_border({.kernels = kernels}, in[0], in[1], in[2], in[3]);
      const Tensor outputs[3] = {border.hidden, border.prediction, border.input};
      outputs[used].square().sum().backward();
      for (const Tensor& tensor : in) {
        gradients[kernels ? 0 : 1].push_back(tensor.grad().defined() ? tensor.grad() : torch::zeros_like(tensor));
      }
    }
    for (size_t i = 0; i < gradients[0].size(); ++i) {
      EXPECT_TENSORS_CLOSE(gradients[0][i], gradients[1][i], testing::accumulated(testing::kEpsilonF32, 64, 30));
    }
  }
}

TEST(LoopBorder, RefusesShapesThatDoNotFit) {
  const std::vector<Tensor> odd = inputs(2, 3, 5);
  EXPECT_THROW(loop_border({}, odd[0], odd[1], odd[2], odd[3]), base::Error);
  const std::vector<Tensor> in = inputs(2, 4, 5);
  EXPECT_THROW(loop_border({}, in[0], in[1].narrow(1, 0, 2), in[2], in[3]), base::Error);
  EXPECT_THROW(loop_border({}, in[0], in[1], in[2].t(), in[3]), base::Error);
}

}  // namespace
}  // namespace incontext::ops
