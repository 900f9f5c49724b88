#include "ops/linear.h"

#include "base/error.h"
#include "kernels/weight_product.h"
#include "ops/product.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

kernels::Storage storage_of(const Tensor& weight) {
  switch (weight.scalar_type()) {
    case torch::kFloat32:
      return kernels::Storage::f32;
    case torch::kFloat16:
      return kernels::Storage::f16;
    case torch::kBFloat16:
      return kernels::Storage::bf16;
    default:
      base::fail("[linear] expected a weight in f32, f16 or bf16, got {}", torch::toString(weight.scalar_type()));
  }
}

void check_weight(const Tensor& x, const Weight& weight) {
  const Tensor& matrix = weight.matrix;
  const Tensor& bias = weight.bias;
  base::check(x.dim() >= 1 && matrix.dim() == 2 && x.size(-1) == matrix.size(1),
              "[linear] expected x [..., in] and weight [out, in], got [{}] and [{}]", fmt::join(x.sizes(), ", "),
              fmt::join(matrix.sizes(), ", "));
  base::check(!matrix.requires_grad() || matrix.scalar_type() != torch::kBFloat16,
              "[linear] a weight is trained in float32, and this one is bfloat16");
  base::check(!bias.defined() || (bias.dim() == 1 && bias.size(0) == matrix.size(0)),
              "[linear] expected bias [{}], got [{}]", matrix.size(0), fmt::join(bias.sizes(), ", "));
  if (!weight.adapter) return;
  const LowRank& adapter = *weight.adapter;
  base::check(adapter.a.dim() == 2 && adapter.b.dim() == 2 && adapter.a.size(1) == matrix.size(1) &&
                  adapter.b.size(0) == matrix.size(0) && adapter.a.size(0) == adapter.b.size(1),
              "[linear] expected an adapter of [rank, {}] and [{}, rank], got [{}] and [{}]", matrix.size(1),
              matrix.size(0), fmt::join(adapter.a.sizes(), ", "), fmt::join(adapter.b.sizes(), ", "));
}

void check_residual(const Tensor& x, const Weight& weight, const Tensor& residual) {
  base::check(!residual.defined() ||
                  (residual.size(-1) == weight.out() && residual.numel() / residual.size(-1) == x.numel() / x.size(-1)),
              "[linear] expected a residual with the shape of the result");
}

Tensor fallback(const Settings& settings, const Tensor& x, const Weight& weight, const Tensor& residual) {
  const auto as = x.options();
  Tensor y;
  if (settings.precision == kernels::Precision::bf16) {
    // Serving rounds activations alone: a weight is what it is stored as.
    const Tensor rounded = x.to(torch::kBFloat16);
    y = settings.batch_invariant
            ? torch::matmul(rounded.to(x.scalar_type()), weight.matrix.to(as).t())
            : torch::matmul(rounded, weight.matrix.to(as.dtype(torch::kBFloat16)).t()).to(x.scalar_type());
    if (weight.bias.defined()) y = y + weight.bias.to(as);
  } else {
    y = torch::linear(x, weight.matrix.to(as), weight.bias.defined() ? weight.bias.to(as) : Tensor());
  }
  return residual.defined() ? y + residual : y;
}

// Weights side by side in one call of the kernel whose rows do not depend on each other; `y` has the width of all.
void multiply_rows(const Settings& settings, const Tensor& rows, std::span<const Weight> weights,
                   const Tensor& residual, const Tensor& y) {
  std::vector<kernels::WeightMatrix> matrices;
  float* at = y.data_ptr<float>();
  const float* added = residual.defined() ? residual.data_ptr<float>() : nullptr;
  for (const Weight& weight : weights) {
    base::check(weight.matrix.stride(1) == 1 || weight.in() == 1, "[linear] expected a weight with contiguous rows");
    matrices.push_back({.storage = storage_of(weight.matrix),
                        .weight = weight.matrix.data_ptr(),
                        .stride = product::row_stride(weight.matrix),
                        .columns = weight.out(),
                        .bias = product::data_or_null(weight.bias),
                        .residual = added,
                        .y = at,
                        .y_stride = y.stride(0)});
    at += weight.out();
    if (added != nullptr) added += weight.out();
  }
  kernels::weight_product({.rows = rows.size(0),
                           .depth = rows.size(1),
                           .x = rows.data_ptr<float>(),
                           .x_stride = rows.size(1),
                           .matrices = matrices,
                           .precision = settings.precision},
                          tensor::kernel_pool());
}

// Adapters of weights side by side, added to y [rows, out_1 + out_2 + …] in place.
void add_adapters(const Settings& settings, const Tensor& rows, std::span<const Weight> weights, const Tensor& y) {
  int64_t first = 0;
  for (const Weight& weight : weights) {
    if (weight.adapter) {
      const Weight down{weight.adapter->a}, up{weight.adapter->b};
      Tensor narrow = torch::empty({rows.size(0), down.out()}, rows.options());
      multiply_rows(settings, rows, {&down, 1}, {}, narrow);
      narrow.mul_(weight.adapter->scale);
      const Tensor part = y.narrow(1, first, weight.out());
      multiply_rows(settings, narrow, {&up, 1}, part, part);
    }
    first += weight.out();
  }
}

// Without gradients, and with the promise about bits.
Tensor linear_by_rows(const Settings& settings, const Tensor& x, std::span<const Weight> weights,
                      const Tensor& residual) {
  int64_t width = 0;
  for (const Weight& weight : weights) width += weight.out();
  const Tensor rows = product::as_rows(x);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = width;
  const Tensor y = torch::empty({rows.size(0), width}, rows.options());
  const Tensor added = residual.defined() ? product::as_rows(residual) : Tensor();
  multiply_rows(settings, rows, weights, added, y);
  add_adapters(settings, rows, weights, y);
  return y.view(shape);
}

class LinearFunction : public torch::autograd::Function<LinearFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                        const OptionalTensor& residual, bool bf16, torch::ScalarType type) {
    const auto precision = bf16 ? kernels::Precision::bf16 : kernels::Precision::f32;
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = weight.size(0);
    const Tensor rows = product::as_rows(x);
    const Tensor residual_rows = present(residual) ? product::as_rows(*residual) : Tensor();
    Tensor y = torch::empty({rows.size(0), weight.size(0)}, x.options().dtype(type));
    product::forward(rows, weight,
                     {.bias = product::data_or_null(bias), .residual = product::data_or_null(residual_rows)}, y,
                     precision);
    context->save_for_backward({rows, weight});
    context->saved_data["shape"] = x.sizes().vec();
    context->saved_data["bf16"] = bf16;
    context->saved_data["wanted"] = wanted_gradients({x, weight, bias, residual});
    return y.view(shape);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor& x = saved[0];
    const Tensor& weight = saved[1];
    const auto precision = context->saved_data["bf16"].toBool() ? kernels::Precision::bf16 : kernels::Precision::f32;
    const Tensor dy = product::as_rows(gradients[0]);
    const auto wanted = context->saved_data["wanted"].toBoolList();
    Tensor dx, dweight, dbias, dresidual;
    if (wanted[0]) {
      dx = product::input_gradient(dy, weight, {}, precision, x.scalar_type())
               .view(context->saved_data["shape"].toIntVector());
    }
    if (wanted[1]) dweight = product::weight_gradient(dy, x, precision, wanted[2] ? &dbias : nullptr);
    if (wanted[2] && !wanted[1]) dbias = product::bias_gradient(dy);
    if (wanted[3]) dresidual = gradients[0];
    return {dx, dweight, dbias, dresidual, Tensor(), Tensor()};
  }
};

// A frozen weight that is stored in 16 bits: read where it lies, forward and back.
class FrozenLinearFunction : public torch::autograd::Function<FrozenLinearFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& matrix, const OptionalTensor& bias,
                        const OptionalTensor& residual, bool bf16, torch::ScalarType type) {
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = matrix.size(0);
    const Settings settings{.precision = bf16 ? kernels::Precision::bf16 : kernels::Precision::f32};
    const Tensor rows = product::as_rows(x).to(torch::kFloat32);
    const Tensor y = torch::empty({rows.size(0), matrix.size(0)}, rows.options());
    const Weight weight{matrix, present(bias) ? *bias : Tensor()};
    multiply_rows(settings, rows, {&weight, 1}, present(residual) ? product::as_rows(*residual) : Tensor(), y);
    context->save_for_backward({matrix});
    context->saved_data["shape"] = x.sizes().vec();
    context->saved_data["type"] = static_cast<int64_t>(x.scalar_type());
    context->saved_data["bf16"] = bf16;
    context->saved_data["wanted"] = wanted_gradients({x, matrix, bias, residual});
    return y.to(type).view(shape);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor matrix = context->get_saved_variables()[0];
    const auto precision = context->saved_data["bf16"].toBool() ? kernels::Precision::bf16 : kernels::Precision::f32;
    const auto type = static_cast<torch::ScalarType>(context->saved_data["type"].toInt());
    const Tensor dy = product::as_rows(gradients[0]);
    const auto wanted = context->saved_data["wanted"].toBoolList();
    Tensor dx, dbias, dresidual;
    if (wanted[0]) {
      dx = product::frozen_input_gradient(dy, matrix, precision)
               .to(type)
               .view(context->saved_data["shape"].toIntVector());
    }
    if (wanted[2]) dbias = product::bias_gradient(dy);
    if (wanted[3]) dresidual = gradients[0];
    return {dx, Tensor(), dbias, dresidual, Tensor(), Tensor()};
  }
};

Tensor with_gradients(const Settings& settings, const Tensor& x, const Weight& weight, const Tensor& residual,
                      Keep keep) {
  if (!use_kernels(settings, x)) return fallback(settings, x, weight, residual);
  const auto apply = [&](auto function) {
    return decltype(function)::apply(x, weight.matrix, OptionalTensor(weight.bias), OptionalTensor(residual),
                                     settings.precision == kernels::Precision::bf16, kept_type(settings, keep));
  };
  if (weight.matrix.scalar_type() == torch::kFloat32) return apply(LinearFunction());
  return apply(FrozenLinearFunction());
}

bool by_rows(const Settings& settings, const Tensor& x) {
  return settings.batch_invariant && use_kernels(settings, x) && !torch::GradMode::is_enabled();
}

}  // namespace

Tensor linear(const Settings& settings, const Tensor& x, const Weight& weight, const Tensor& residual, Keep keep) {
  check_weight(x, weight);
  check_residual(x, weight, residual);
  if (by_rows(settings, x)) return linear_by_rows(settings, x, {&weight, 1}, residual);
  if (!weight.adapter) return with_gradients(settings, x, weight, residual, keep);
  const Tensor y = with_gradients(settings, x, weight, residual, Keep::f32);
  const Tensor narrow = with_gradients(settings, x, {weight.adapter->a}, {}, Keep::f32) * weight.adapter->scale;
  return with_gradients(settings, narrow, {weight.adapter->b}, y, keep);
}

Tensor linear_side_by_side(const Settings& settings, const Tensor& x, std::span<const Weight> weights, Keep keep) {
  base::check(!weights.empty(), "[linear] expected at least one weight");
  if (weights.size() == 1) return linear(settings, x, weights[0], {}, keep);
  for (const Weight& weight : weights) check_weight(x, weight);
  if (by_rows(settings, x)) return linear_by_rows(settings, x, weights, {});
  std::vector<Tensor> parts;
  for (const Weight& weight : weights) parts.push_back(linear(settings, x, weight, {}, keep));
  return torch::cat(parts, -1);
}

}  // namespace incontext::ops
