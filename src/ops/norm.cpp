#include "ops/norm.h"

#include "base/error.h"
#include "ops/product.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using kernels::NormKind;
using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Tensor fallback(NormKind kind, const Tensor& x, const Tensor& gamma, const Tensor& beta, double epsilon) {
  if (kind == NormKind::layer) return torch::layer_norm(x, {x.size(-1)}, gamma, beta, epsilon);
  const Tensor normed = x * torch::rsqrt(x.square().mean(-1, /*keepdim=*/true) + epsilon) * gamma;
  return beta.defined() ? normed + beta : normed;
}

// Tokens 0, n, 2n, … of x [batch, time, width].
Tensor every(const Tensor& x, int64_t n) { return x.slice(1, 0, x.size(1), n); }

class NormFunction : public torch::autograd::Function<NormFunction> {
 public:
  static variable_list forward(AutogradContext* context, const Tensor& x, const Tensor& gamma,
                               const OptionalTensor& beta, int64_t kind, double epsilon, torch::ScalarType type,
                               int64_t residual_every) {
    const Tensor rows = product::as_rows(x);
    Tensor y = torch::empty(rows.sizes(), rows.options().dtype(type));
    Tensor mean = torch::empty({rows.size(0)}, x.options());
    Tensor rstd = torch::empty({rows.size(0)}, x.options());
    kernels::norm_forward({.kind = static_cast<NormKind>(kind),
                           .rows = rows.size(0),
                           .width = rows.size(1),
                           .epsilon = static_cast<float>(epsilon),
                           .x = rows.data_ptr<float>(),
                           .gamma = gamma.data_ptr<float>(),
                           .beta = product::data_or_null(beta),
                           .y = product::array_of(y),
                           .mean = mean.data_ptr<float>(),
                           .rstd = rstd.data_ptr<float>()},
                          tensor::kernel_pool());
    context->save_for_backward({rows, gamma, mean, rstd});
    context->saved_data["kind"] = kind;
    context->saved_data["has_beta"] = present(beta);
    context->saved_data["shape"] = x.sizes().vec();
    context->saved_data["residual_every"] = residual_every;
    return {y.view(x.sizes()), residual_every == 1 ? x : every(x, residual_every).contiguous()};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor& x = saved[0];
    const auto shape = context->saved_data["shape"].toIntVector();
    const int64_t residual_every = context->saved_data["residual_every"].toInt();
    if (!gradients[0].defined()) {
      Tensor dx = gradients[1];
      if (residual_every > 1) {
        dx = torch::zeros(shape, x.options());
        every(dx, residual_every).copy_(gradients[1]);
      }
      return {dx, Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
    }
    const Tensor dy = product::as_rows(gradients[0]);
    const Tensor residual = gradients[1].defined() ? product::as_rows(gradients[1]) : Tensor();
    Tensor dx = torch::empty_like(x);
    Tensor dgamma = torch::empty_like(saved[1]);
    Tensor dbeta = context->saved_data["has_beta"].toBool() ? torch::empty_like(saved[1]) : Tensor();
    kernels::norm_backward({.kind = static_cast<NormKind>(context->saved_data["kind"].toInt()),
                            .rows = x.size(0),
                            .width = x.size(1),
                            .dy = product::array_of(dy),
                            .x = x.data_ptr<float>(),
                            .gamma = saved[1].data_ptr<float>(),
                            .mean = saved[2].data_ptr<float>(),
                            .rstd = saved[3].data_ptr<float>(),
                            .residual_gradient = product::data_or_null(residual),
                            .dx = dx.data_ptr<float>(),
                            .dgamma = dgamma.data_ptr<float>(),
                            .dbeta = dbeta.defined() ? dbeta.data_ptr<float>() : nullptr,
                            .residual_every = residual_every},
                           tensor::kernel_pool());
    return {dx.view(shape), dgamma, dbeta, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Normed norm(const Settings& settings, NormKind kind, const Tensor& x, const Tensor& gamma, const Tensor& beta,
            double epsilon, Keep keep, int64_t residual_every) {
  base::check(gamma.dim() == 1 && gamma.size(0) == x.size(-1), "[norm] expected gamma [{}], got {}", x.size(-1),
              fmt::join(gamma.sizes(), "x"));
  base::check(residual_every == 1 || (x.dim() == 3 && residual_every > 1 && x.size(1) % residual_every == 0),
              "[norm] expected x [batch, time, width] with a multiple of {} tokens, got [{}]", residual_every,
              fmt::join(x.sizes(), ", "));
  if (!use_kernels(settings, x)) {
    return {fallback(kind, x, gamma, beta, epsilon), residual_every == 1 ? x : every(x, residual_every).contiguous()};
  }
  const variable_list outputs = NormFunction::apply(x, gamma, OptionalTensor(beta), static_cast<int64_t>(kind), epsilon,
                                                    kept_type(settings, keep), residual_every);
  return {outputs[0], outputs[1]};
}

}  // namespace incontext::ops
