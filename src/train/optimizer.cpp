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

Optimizer::Optimizer(const OptimizerOptions& options, std::vector<models::NamedTensor>& parameters)
    : options_(options), parameters_(parameters) {
  for (const models::NamedTensor& parameter : parameters) {
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
  Tensor total = torch::zeros({}, parameters_[0].tensor.options().requires_grad(false));
  for (const models::NamedTensor& parameter : parameters_) {
    if (parameter.tensor.grad().defined()) total += parameter.tensor.grad().square().sum();
  }
  return std::sqrt(total.item<double>());
}

void Optimizer::step(double learning_rate, double gradient_scale, int64_t step, bool use_kernels) {
  torch::NoGradGuard no_gradients;
  const auto count = static_cast<double>(step);
  const double correction1 = 1 - std::pow(options_.beta1, count);
  const double correction2 = 1 - std::pow(options_.beta2, count);
  const bool decoupled = options_.name == "adamw";
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
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Tensor parameter = parameters_[i].tensor.detach();
    if (!parameters_[i].tensor.grad().defined()) continue;
    Tensor gradient = parameters_[i].tensor.grad() * gradient_scale;
    if (decoupled) {
      parameter.mul_(1 - learning_rate * options_.weight_decay);
    } else if (options_.weight_decay > 0) {
      gradient = gradient + options_.weight_decay * parameter;
    }
    moments_[i].first.mul_(options_.beta1).add_(gradient, 1 - options_.beta1);
    moments_[i].second.mul_(options_.beta2).addcmul_(gradient, gradient, 1 - options_.beta2);
    const Tensor root = (moments_[i].second / correction2).sqrt_().add_(options_.epsilon);
    parameter.addcdiv_(moments_[i].first, root, -learning_rate / correction1);
  }
}

}  // namespace incontext::train
