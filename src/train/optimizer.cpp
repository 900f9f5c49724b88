#include "train/optimizer.h"

#include <cmath>

#include "kernels/optimizer.h"
#include "tensor/device.h"

namespace incontext::train {
namespace {

using torch::Tensor;

std::vector<kernels::AdamParameter> as_kernel_parameters(std::vector<models::NamedTensor>& parameters,
                                                         std::vector<Optimizer::Moments>& moments) {
  std::vector<kernels::AdamParameter> list;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Tensor& parameter = parameters[i].tensor;
    if (!parameter.grad().defined()) continue;  // a part of the model that this batch did not use
    Tensor& gradient = parameters[i].tensor.mutable_grad();
    if (!gradient.is_contiguous()) gradient = gradient.contiguous();
    list.push_back({parameter.data_ptr<float>(), gradient.data_ptr<float>(), moments[i].first.data_ptr<float>(),
                    moments[i].second.data_ptr<float>(), parameter.numel()});
  }
  return list;
}

}  // namespace

Optimizer::Optimizer(const OptimizerOptions& options, const std::vector<models::NamedTensor>& parameters)
    : options_(options) {
  for (const models::NamedTensor& parameter : parameters) {
    if (!parameter.tensor.requires_grad()) continue;
    parameters_.push_back(parameter);
    moments_.push_back(
        {torch::zeros_like(parameter.tensor, torch::kFloat32), torch::zeros_like(parameter.tensor, torch::kFloat32)});
  }
}

bool Optimizer::on_cpu() const { return parameters_.empty() || parameters_[0].tensor.device().is_cpu(); }

double Optimizer::gradient_norm() const {
  if (on_cpu()) {
    auto& self = const_cast<Optimizer&>(*this);  // the list holds pointers to mutable data, but is only read
    const auto list = as_kernel_parameters(self.parameters_, self.moments_);
    return std::sqrt(kernels::squared_norm(list, tensor::kernel_pool()));
  }
  return gradient_norm_tensor().item<double>();
}

Tensor Optimizer::gradient_norm_tensor() const {
  torch::NoGradGuard no_gradients;
  std::vector<Tensor> gradients;
  for (const models::NamedTensor& parameter : parameters_) {
    if (parameter.tensor.grad().defined()) gradients.push_back(parameter.tensor.grad());
  }
  if (gradients.empty()) return torch::zeros({}, torch::TensorOptions(parameters_[0].tensor.device()));
  return torch::stack(at::_foreach_norm(gradients)).norm();
}

void Optimizer::step(double learning_rate, double gradient_scale, int64_t step, bool use_kernels) {
  torch::NoGradGuard no_gradients;
  const auto count = static_cast<double>(step);
  const double correction1 = 1 - std::pow(options_.beta1, count);
  const double correction2 = 1 - std::pow(options_.beta2, count);
  const bool decoupled = options_.name == UpdateRule::adamw;
  if (use_kernels && on_cpu()) {
    const kernels::AdamStep update{.learning_rate = learning_rate,
                                   .beta1 = options_.beta1,
                                   .beta2 = options_.beta2,
                                   .epsilon = options_.epsilon,
                                   .weight_decay = options_.weight_decay,
                                   .decoupled = decoupled,
                                   .gradient_scale = gradient_scale,
                                   .correction1 = correction1,
                                   .correction2 = correction2};
    kernels::adam_step(update, as_kernel_parameters(parameters_, moments_), tensor::kernel_pool());
    return;
  }
  // A GPU does each of these for all tensors at once.
  std::vector<Tensor> parameters, gradients, first, second;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].tensor.grad().defined()) continue;
    parameters.push_back(parameters_[i].tensor.detach());
    gradients.push_back(parameters_[i].tensor.grad());
    first.push_back(moments_[i].first);
    second.push_back(moments_[i].second);
  }
  if (parameters.empty()) return;
  if (gradient_scale != 1) gradients = at::_foreach_mul(gradients, gradient_scale);
  if (decoupled) {
    at::_foreach_mul_(parameters, 1 - learning_rate * options_.weight_decay);
  } else if (options_.weight_decay > 0) {
    gradients = at::_foreach_add(gradients, parameters, options_.weight_decay);
  }
  at::_foreach_mul_(first, options_.beta1);
  at::_foreach_add_(first, gradients, 1 - options_.beta1);
  at::_foreach_mul_(second, options_.beta2);
  at::_foreach_addcmul_(second, gradients, gradients, 1 - options_.beta2);
  std::vector<Tensor> root = at::_foreach_div(second, correction2);
  at::_foreach_sqrt_(root);
  at::_foreach_add_(root, options_.epsilon);
  at::_foreach_addcdiv_(parameters, first, root, -learning_rate / correction1);
}

}  // namespace incontext::train
