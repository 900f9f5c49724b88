#include "ops/mlp.h"

#include <torch/csrc/autograd/graph_task.h>

#include "base/error.h"
#include "kernels/activation.h"
#include "ops/linear.h"
#include "ops/product.h"
#include "ops/silu_multiply.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using kernels::Activation;
using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// libtorch's own, with gradients; but its GELU lets a row's bits depend on the others.
Tensor activate(const Settings& settings, const Tensor& x, Activation activation) {
  if (activation == Activation::none) return x;
  if (activation == Activation::relu) return torch::relu(x);
  if (!settings.batch_invariant || !use_kernels(settings, x) || torch::GradMode::is_enabled()) {
    return torch::gelu(x, "tanh");
  }
  const Tensor rows = product::as_rows(x);
  kernels::gelu_in_place({.rows = rows.size(0), .width = rows.size(1), .x = rows.data_ptr<float>()},
                         tensor::kernel_pool());
  return rows.view(x.sizes());
}

// silu(gate·x) * (up·x).
Tensor gated(const Settings& settings, const Tensor& x, const MlpWeights& weights) {
  if (!settings.batch_invariant || !use_kernels(settings, x) || torch::GradMode::is_enabled()) {
    return silu_multiply(settings, linear(settings, x, weights.gate), linear(settings, x, weights.up));
  }
  // One start of the threads for both products.
  const Weight both[2] = {weights.gate, weights.up};
  const Tensor rows = product::as_rows(linear_side_by_side(settings, x, both));
  const int64_t hidden = weights.up.out();
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = hidden;
  const Tensor out = torch::empty({rows.size(0), hidden}, rows.options());
  kernels::silu_and_multiply({.rows = rows.size(0),
                              .width = hidden,
                              .gate = rows.data_ptr<float>(),
                              .up = rows.data_ptr<float>() + hidden,
                              .stride = 2 * hidden,
                              .out = out.data_ptr<float>(),
                              .out_stride = hidden},
                             tensor::kernel_pool());
  return out.view(shape);
}

class MlpFunction : public torch::autograd::Function<MlpFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& up, const OptionalTensor& up_bias,
                        const Tensor& down, const OptionalTensor& down_bias, const Tensor& residual, int64_t activation,
                        bool bf16) {
    const auto precision = bf16 ? kernels::Precision::bf16 : kernels::Precision::f32;
    const Tensor rows = product::as_rows(x);
    const Tensor residual_rows = product::as_rows(residual);
    const Tensor preactivation =
        product::empty_rows(rows.size(0), up.size(0), x.options().dtype(bf16 ? torch::kBFloat16 : torch::kFloat32));
    Tensor y = torch::empty({rows.size(0), down.size(0)}, x.options().dtype(torch::kFloat32));
    product::forward_chain(rows, up,
                           {.bias = product::data_or_null(up_bias),
                            .activation = static_cast<Activation>(activation),
                            .preactivation = product::array_of(preactivation)},
                           product::row_stride(preactivation), down,
                           {.bias = product::data_or_null(down_bias), .residual = residual_rows.data_ptr<float>()}, y,
                           precision);
    context->save_for_backward({rows, up, down});
    context->saved_data["preactivation"] = preactivation;
    context->saved_data["shape"] = x.sizes().vec();
    context->saved_data["activation"] = activation;
    context->saved_data["bf16"] = bf16;
    context->saved_data["wanted"] = wanted_gradients({x, up, up_bias, down, down_bias, residual});
    return y.view(residual.sizes());
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor& x = saved[0];
    const Tensor& up = saved[1];
    const Tensor& down = saved[2];
    const auto precision = context->saved_data["bf16"].toBool() ? kernels::Precision::bf16 : kernels::Precision::f32;
    Tensor hidden = context->saved_data["preactivation"].toTensor();
    base::check(hidden.defined(), "[mlp] the graph was already back-propagated once, without retain_graph");
    if (torch::autograd::get_current_graph_task_keep_graph()) {
      hidden = product::empty_rows(hidden.size(0), hidden.size(1), hidden.options()).copy_(hidden);
    } else {
      context->saved_data["preactivation"] = Tensor();
    }

    const Tensor dy = product::as_rows(gradients[0]);
    const auto wanted = context->saved_data["wanted"].toBoolList();
    Tensor dx, dup, dup_bias, ddown, ddown_bias, dresidual;
    // One epilogue turns dy·W into the gradient before the activation, and the saved buffer into its value.
    const kernels::Epilogue through_activation{
        .activation = static_cast<Activation>(context->saved_data["activation"].toInt()),
        .preactivation = product::array_of(hidden),
        .activation_gradient = true};
    const Tensor dhidden = product::empty_rows(hidden.size(0), hidden.size(1), hidden.options());
    if (wanted[0]) {
      dx = torch::empty_like(x);
      product::input_gradient_chain(dy, down, through_activation, dhidden, up, dx, precision);
      dx = dx.view(context->saved_data["shape"].toIntVector());
    } else {
      product::write_input_gradient(dy, down, through_activation, dhidden, precision);
    }
    if (wanted[3]) ddown = product::weight_gradient(dy, hidden, precision, wanted[4] ? &ddown_bias : nullptr);
    if (wanted[4] && !wanted[3]) ddown_bias = product::bias_gradient(dy);
    hidden = Tensor();
    if (wanted[1]) dup = product::weight_gradient(dhidden, x, precision, wanted[2] ? &dup_bias : nullptr);
    if (wanted[2] && !wanted[1]) dup_bias = product::bias_gradient(dhidden);
    if (wanted[5]) dresidual = gradients[0];
    return {dx, dup, dup_bias, ddown, ddown_bias, dresidual, Tensor(), Tensor()};
  }
};

}  // namespace

Tensor mlp(const Settings& settings, const Tensor& x, const MlpWeights& weights, Activation activation,
           const Tensor& residual) {
  const Tensor& up = weights.up.matrix;
  const Tensor& down = weights.down.matrix;
  base::check(up.dim() == 2 && down.dim() == 2 && up.size(0) == down.size(1) && up.size(1) == x.size(-1),
              "[mlp] expected up [hidden, {}] and down [width, hidden], got [{}] and [{}]", x.size(-1),
              fmt::join(up.sizes(), ", "), fmt::join(down.sizes(), ", "));
  if (weights.gate.defined()) return linear(settings, gated(settings, x, weights), weights.down, residual);
  const bool fused = use_kernels(settings, x) && activation != Activation::none && !settings.batch_invariant &&
                     weights.up.plain() && weights.down.plain();
  if (!fused) {
    return linear(settings, activate(settings, linear(settings, x, weights.up), activation), weights.down, residual);
  }
  return MlpFunction::apply(x, up, OptionalTensor(weights.up.bias), down, OptionalTensor(weights.down.bias), residual,
                            static_cast<int64_t>(activation), settings.precision == kernels::Precision::bf16);
}

}  // namespace incontext::ops
