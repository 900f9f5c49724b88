#include "support/gradient_check.h"

#include "support/tensor_close.h"
#include "tensor/torch.h"

namespace incontext::testing {
namespace {

using Tensors = std::vector<torch::Tensor>;

Tensors fresh_copies(const Tensors& inputs, bool requires_grad) {
  Tensors out;
  for (const torch::Tensor& input : inputs) {
    out.push_back(input.detach().clone(torch::MemoryFormat::Contiguous).requires_grad_(requires_grad));
  }
  return out;
}

torch::Tensor flat_doubles(const torch::Tensor& tensor) { return tensor.detach().to(torch::kFloat64).flatten(); }

/// The Jacobian of all outputs by one input, [outputs, input elements].
torch::Tensor numeric_jacobian(const TensorFunction& function, const Tensors& inputs, size_t which, double step) {
  const torch::NoGradGuard guard;
  Tensors columns;
  for (int64_t i = 0; i < inputs[which].numel(); ++i) {
    const auto shifted = [&](double by) {
      Tensors copies = fresh_copies(inputs, false);
      copies[which].view(-1)[i] += by;
      return std::make_pair(flat_doubles(function(copies)), copies[which].view(-1)[i].item<double>());
    };
    const auto [high, above] = shifted(step);
    const auto [low, below] = shifted(-step);
    columns.push_back((high - low) / (above - below));  // above - below is what rounding left of 2 * step
  }
  return torch::stack(columns, 1);
}

/// Gradients of sum(output * weights) by every input, in double; nothing for weights means sum(output).
Tensors backward(const torch::Tensor& output, const Tensors& inputs, const torch::Tensor& weights) {
  Tensors gradients = weights.defined()
                          ? torch::autograd::grad({output}, inputs, {weights.view(output.sizes())}, true, false, true)
                          : torch::autograd::grad({output.sum()}, inputs, {}, true, false, true);
  for (size_t i = 0; i < inputs.size(); ++i) {
    gradients[i] = flat_doubles(gradients[i].defined() ? gradients[i] : torch::zeros_like(inputs[i]));
  }
  return gradients;
}

}  // namespace

std::string compare_gradients(const TensorFunction& function, const std::vector<torch::Tensor>& inputs,
                              const GradientCheckOptions& options) {
  const Tensors leaves = fresh_copies(inputs, true);
  const torch::Tensor output = function(leaves);
  if (!output.requires_grad()) return "the output does not depend on the inputs";
  const int64_t size = output.numel();

  std::vector<Tensors> rows(inputs.size());  // by input: gradient of each output element
  for (int64_t row = 0; row < size; ++row) {
    torch::Tensor one_hot = torch::zeros({size}, output.options().requires_grad(false));
    one_hot[row] = 1;
    const Tensors gradients = backward(output, leaves, one_hot);
    for (size_t i = 0; i < inputs.size(); ++i) rows[i].push_back(gradients[i]);
  }
  const torch::Tensor weights = torch::linspace(-1.0, 1.7, size, output.options().requires_grad(false));
  const Tensors weighted = backward(output, leaves, weights);
  const Tensors summed = backward(output, leaves, {});

  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].numel() == 0) continue;
    const torch::Tensor jacobian = numeric_jacobian(function, inputs, i, options.step);
    const auto told = [&](const char* what, const torch::Tensor& actual, const torch::Tensor& expected) {
      const std::string difference = compare(actual, expected, options.tolerance);
      return difference.empty() ? "" : "input " + std::to_string(i) + ", " + what + ": " + difference;
    };
    // Sums of `size` entries may be off by as many tolerances: dividing makes them means again.
    const double count = static_cast<double>(size);
    for (const std::string& difference :
         {told("one output at a time", torch::stack(rows[i], 0), jacobian),
          told("all outputs at once", weighted[i] / count, torch::mv(jacobian.t(), flat_doubles(weights)) / count),
          told("sum of outputs", summed[i] / count, jacobian.sum(0) / count)}) {
      if (!difference.empty()) return difference;
    }
  }
  return "";
}

}  // namespace incontext::testing
