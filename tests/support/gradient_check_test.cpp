#include "support/gradient_check.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "tensor/torch.h"

namespace incontext::testing {
namespace {

using Tensors = std::vector<torch::Tensor>;

torch::Tensor wave(int64_t rows, int64_t columns, torch::Dtype dtype = torch::kFloat64) {
  return torch::sin(torch::arange(rows * columns, torch::kFloat64) * 1.7 + 0.3).reshape({rows, columns}).to(dtype);
}

/// y = x^3, with a gradient that is right or wrong in a chosen way.
enum class Fault { none, factor, sign, ignores_weight, assumes_contiguous, last_element, returns_nothing };

struct Cube : torch::autograd::Function<Cube> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x, int64_t fault) {
    context->save_for_backward({x});
    context->saved_data["fault"] = fault;
    return x * x * x;
  }
  static Tensors backward(torch::autograd::AutogradContext* context, Tensors gradients) {
    const torch::Tensor x = context->get_saved_variables()[0];
    torch::Tensor dx = 3 * x * x * gradients[0];
    switch (static_cast<Fault>(context->saved_data["fault"].toInt())) {
      case Fault::none:
        break;
      case Fault::factor:
        dx = dx * 1.001;
        break;
      case Fault::sign:
        dx = -dx;
        break;
      case Fault::ignores_weight:
        dx = 3 * x * x * (gradients[0] != 0);
        break;
      case Fault::assumes_contiguous:  // reads a dense buffer where the strides are zero
        if (!gradients[0].is_contiguous()) dx = torch::zeros_like(dx);
        break;
      case Fault::last_element:
        dx = dx.clone();
        dx.view(-1)[-1] += 1e-3;
        break;
      case Fault::returns_nothing:
        return {};
    }
    return {dx, torch::Tensor()};
  }
};

TensorFunction cube(Fault fault) {
  return [fault](const Tensors& inputs) { return Cube::apply(inputs[0], static_cast<int64_t>(fault)); };
}

TEST(GradientCheck, AcceptsCorrectGradients) {
  EXPECT_GRADIENTS(cube(Fault::none), {wave(2, 3)});
  const TensorFunction layer = [](const Tensors& in) { return torch::tanh(torch::matmul(in[0], in[1].t()) + in[2]); };
  EXPECT_GRADIENTS(layer, {wave(2, 3), wave(4, 3), wave(1, 4)});
  const TensorFunction loss = [](const Tensors& in) { return torch::softmax(in[0], 1).pow(2).sum(); };
  EXPECT_GRADIENTS(loss, {wave(3, 4)});
}

TEST(GradientCheck, AcceptsUnusedInputsAndEmptyOnes) {
  const TensorFunction first = [](const Tensors& in) { return in[0].exp(); };
  EXPECT_GRADIENTS(first, {wave(1, 2), wave(2, 2), torch::zeros({0, 2}, torch::kFloat64)});
}

TEST(GradientCheck, CatchesWrongGradients) {
  for (const Fault fault :
       {Fault::factor, Fault::sign, Fault::ignores_weight, Fault::assumes_contiguous, Fault::last_element}) {
    EXPECT_NE(compare_gradients(cube(fault), {wave(2, 3)}), "") << static_cast<int>(fault);
  }
  EXPECT_THROW(compare_gradients(cube(Fault::returns_nothing), {wave(2, 3)}), std::exception);
}

TEST(GradientCheck, NamesTheInput) {
  const TensorFunction second = [](const Tensors& in) {
    return in[0] + Cube::apply(in[1], static_cast<int64_t>(Fault::factor));
  };
  EXPECT_EQ(compare_gradients(second, {wave(2, 2), wave(2, 2)}).rfind("input 1, one output at a time", 0), 0u);
}

TEST(GradientCheck, CatchesAnInputThatGetsNoGradient) {
  const TensorFunction cut = [](const Tensors& in) { return in[0] * in[1].detach(); };
  EXPECT_EQ(compare_gradients(cut, {wave(1, 2), wave(1, 2)}).rfind("input 1", 0), 0u);
  const TensorFunction all_cut = [](const Tensors& in) { return in[0].detach() * 2; };
  EXPECT_NE(compare_gradients(all_cut, {wave(1, 2)}), "");
}

TEST(GradientCheck, WorksInFloat) {
  EXPECT_GRADIENTS(cube(Fault::none), {wave(2, 3, torch::kFloat32)}, float_gradients());
  for (const Fault fault : {Fault::sign, Fault::ignores_weight, Fault::assumes_contiguous}) {
    EXPECT_NE(compare_gradients(cube(fault), {wave(2, 3, torch::kFloat32)}, float_gradients()), "");
  }
  const TensorFunction off = [](const Tensors& in) {
    return Cube::apply(in[0], static_cast<int64_t>(Fault::none)) + 0.02 * (in[0] - in[0].detach());
  };
  EXPECT_NE(compare_gradients(off, {wave(2, 3, torch::kFloat32)}, float_gradients()), "") << "2 % of the input";
}

}  // namespace
}  // namespace incontext::testing
