#include "ops/norm.h"

#include "base/error.h"
#include "ops/product.h"
#include "ops/read_tokens.h"
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

// The tokens that go on, from x itself where they are all of it.
Tensor residual_of(const Tensor& x, const kernels::Reads& reads) {
  return reads.all() ? x : read_tokens(x, reads).contiguous();
}

class NormFunction : public torch::autograd::Function<NormFunction> {
 public:
  static variable_list forward(AutogradContext* context, const Tensor& x, const Tensor& gamma,
                               const OptionalTensor& beta, int64_t kind, double epsilon, torch::ScalarType type,
                               const kernels::Reads& reads) {
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
    context->saved_data["first"] = reads.first;
    context->saved_data["every"] = reads.every;
    return {y.view(x.sizes()), residual_of(x, reads)};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor& x = saved[0];
    const auto shape = context->saved_data["shape"].toIntVector();
    const kernels::Reads reads{context->saved_data["first"].toInt(), context->saved_data["every"].toInt()};
    if (!gradients[0].defined()) {
      Tensor dx = gradients[1];
      if (!reads.all()) {
        dx = torch::zeros(shape, x.options());
        read_tokens(dx, reads).copy_(gradients[1]);
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
                            .residual_reads = reads},
                           tensor::kernel_pool());
    return {dx.view(shape), dgamma, dbeta, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Normed norm(const Settings& settings, NormKind kind, const Tensor& x, const Tensor& gamma, const Tensor& beta,
            double epsilon, Keep keep, const kernels::Reads& residual_reads) {
  base::check(gamma.dim() == 1 && gamma.size(0) == x.size(-1), "[norm] expected gamma [{}], got {}", x.size(-1),
              fmt::join(gamma.sizes(), "x"));
  if (!residual_reads.all()) check_reads("norm", x, residual_reads);
  if (!use_kernels(settings, x)) return {fallback(kind, x, gamma, beta, epsilon), residual_of(x, residual_reads)};
  const bool regular = residual_reads.all() || residual_reads.regular(x.size(1));
  const variable_list outputs =
      NormFunction::apply(x, gamma, OptionalTensor(beta), static_cast<int64_t>(kind), epsilon,
                          kept_type(settings, keep), regular ? residual_reads : kernels::Reads{});
  return {outputs[0], regular ? outputs[1] : residual_of(outputs[1], residual_reads)};
}

}  // namespace incontext::ops
