#include "ops/position.h"

#include "base/error.h"
#include "kernels/rows.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class PositionFunction : public torch::autograd::Function<PositionFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& hidden, const Tensor& table) {
    const Tensor x = hidden.contiguous();
    Tensor y = torch::empty_like(x);
    kernels::add_row(x.size(0), x.size(1) * x.size(2), x.data_ptr<float>(), table.data_ptr<float>(),
                     y.data_ptr<float>(), tensor::kernel_pool());
    context->saved_data["positions"] = table.size(0);
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor dy = gradients[0].contiguous();
    const int64_t time = dy.size(1), width = dy.size(2);
    Tensor dtable = torch::empty({context->saved_data["positions"].toInt(), width}, dy.options());
    kernels::column_sums(dy.size(0), time * width, dy.data_ptr<float>(), time * width, dtable.data_ptr<float>(),
                         tensor::kernel_pool());
    dtable.narrow(0, time, dtable.size(0) - time).zero_();  // positions that no token had
    return {dy, dtable};
  }
};

}  // namespace

Tensor add_position(const Settings& settings, const Tensor& hidden, const Tensor& table) {
  base::check(
      hidden.dim() == 3 && table.dim() == 2 && table.size(1) == hidden.size(2) && table.size(0) >= hidden.size(1),
      "[add_position] expected hidden [batch, time, width] and table [positions, width] with at least as many "
      "positions, got [{}] and [{}]",
      fmt::join(hidden.sizes(), ", "), fmt::join(table.sizes(), ", "));
  // A frozen table may be stored in 16 bits; the sum is in the wider type.
  if (!use_kernels(settings, hidden) || table.scalar_type() != torch::kFloat32) {
    return hidden + table.narrow(0, 0, hidden.size(1));
  }
  return PositionFunction::apply(hidden, table.contiguous());
}

}  // namespace incontext::ops
