#include "ops/silu_multiply.h"

#include "base/error.h"
#include "kernels/activation.h"
#include "ops/product.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class SiluMultiplyFunction : public torch::autograd::Function<SiluMultiplyFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& gate, const Tensor& up) {
    const Tensor gate_rows = product::as_rows(gate);
    const Tensor up_rows = product::as_rows(up);
    Tensor out = torch::empty_like(gate_rows);
    const int64_t width = gate_rows.size(1);
    kernels::silu_and_multiply({.rows = gate_rows.size(0),
                                .width = width,
                                .gate = gate_rows.data_ptr<float>(),
                                .up = up_rows.data_ptr<float>(),
                                .stride = width,
                                .out = out.data_ptr<float>(),
                                .out_stride = width},
                               tensor::kernel_pool());
    context->save_for_backward({gate_rows, up_rows});
    return out.view(gate.sizes());
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor dout = product::as_rows(gradients[0]);
    Tensor dgate = torch::empty_like(saved[0]);
    Tensor dup = torch::empty_like(saved[1]);
    const int64_t width = dout.size(1);
    kernels::silu_and_multiply_backward({.rows = dout.size(0),
                                         .width = width,
                                         .gate = saved[0].data_ptr<float>(),
                                         .up = saved[1].data_ptr<float>(),
                                         .stride = width,
                                         .dout = dout.data_ptr<float>(),
                                         .dout_stride = width,
                                         .dgate = dgate.data_ptr<float>(),
                                         .dup = dup.data_ptr<float>(),
                                         .gradient_stride = width},
                                        tensor::kernel_pool());
    return {dgate.view(gradients[0].sizes()), dup.view(gradients[0].sizes())};
  }
};

}  // namespace

Tensor silu_multiply(const Settings& settings, const Tensor& gate, const Tensor& up) {
  base::check(gate.sizes() == up.sizes(), "[silu_multiply] expected equal shapes, got [{}] and [{}]",
              fmt::join(gate.sizes(), ", "), fmt::join(up.sizes(), ", "));
  if (!use_kernels(settings, gate)) return torch::silu(gate) * up;
  return SiluMultiplyFunction::apply(gate, up);
}

}  // namespace incontext::ops
