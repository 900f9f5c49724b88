#include "ops/linear.h"

#include "base/error.h"
#include "ops/product.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void check_arguments(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& residual) {
  base::check(x.dim() >= 1 && weight.dim() == 2 && x.size(-1) == weight.size(1),
              "[linear] expected x [..., in] and weight [out, in], got {} and {}", fmt::join(x.sizes(), "x"),
              fmt::join(weight.sizes(), "x"));
  base::check(!bias.defined() || (bias.dim() == 1 && bias.size(0) == weight.size(0)),
              "[linear] expected bias [{}], got {}", weight.size(0), bias.defined() ? bias.numel() : 0);
  base::check(!residual.defined() || (residual.size(-1) == weight.size(0) &&
                                      residual.numel() / residual.size(-1) == x.numel() / x.size(-1)),
              "[linear] expected residual with the shape of the result");
}

Tensor fallback(const Settings& settings, const Tensor& x, const Tensor& weight, const Tensor& bias,
                const Tensor& residual) {
  Tensor y;
  if (settings.precision == kernels::Precision::bf16) {
    y = torch::matmul(x.to(torch::kBFloat16), weight.to(torch::kBFloat16).t()).to(x.scalar_type());
    if (bias.defined()) y = y + bias;
  } else {
    y = torch::linear(x, weight, bias);
  }
  return residual.defined() ? y + residual : y;
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

}  // namespace

Tensor linear(const Settings& settings, const Tensor& x, const Tensor& weight, const Tensor& bias,
              const Tensor& residual, Keep keep) {
  check_arguments(x, weight, bias, residual);
  if (!use_kernels(settings, x)) return fallback(settings, x, weight, bias, residual);
  return LinearFunction::apply(x, weight, OptionalTensor(bias), OptionalTensor(residual),
                               settings.precision == kernels::Precision::bf16, kept_type(settings, keep));
}

}  // namespace incontext::ops
