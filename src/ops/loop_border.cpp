#include "ops/loop_border.h"

#include "base/error.h"
#include "kernels/loop_border.h"
#include "ops/product.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

LoopBorder fallback(const Tensor& iterate, const Tensor& input, const Tensor& weight, const Tensor& bias) {
  const Tensor at_x = iterate.slice(1, 0, iterate.size(1), 2);
  return {iterate + input, input, torch::linear(at_x, weight, bias).squeeze(-1)};
}

class LoopBorderFunction : public torch::autograd::Function<LoopBorderFunction> {
 public:
  static variable_list forward(AutogradContext* context, const Tensor& iterate, const Tensor& input,
                               const Tensor& weight, const Tensor& bias) {
    const Tensor iterate_rows = product::as_rows(iterate);
    const Tensor input_rows = product::as_rows(input);
    Tensor hidden = torch::empty_like(iterate_rows);
    Tensor prediction = torch::empty({iterate.size(0), iterate.size(1) / 2}, iterate.options());
    kernels::loop_border_forward({.rows = iterate_rows.size(0),
                                  .width = iterate_rows.size(1),
                                  .iterate = iterate_rows.data_ptr<float>(),
                                  .input = input_rows.data_ptr<float>(),
                                  .weight = weight.data_ptr<float>(),
                                  .bias = *bias.data_ptr<float>(),
                                  .hidden = hidden.data_ptr<float>(),
                                  .prediction = prediction.data_ptr<float>()},
                                 tensor::kernel_pool());
    context->save_for_backward({iterate_rows, weight});
    return {hidden.view(iterate.sizes()), input, prediction};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor& iterate = saved[0];
    const Tensor& weight = saved[1];
    const auto shape = [&] {
      for (const Tensor& gradient : {gradients[0], gradients[1]}) {
        if (gradient.defined()) return gradient.sizes().vec();
      }
      return std::vector<int64_t>{gradients[2].size(0), gradients[2].size(1) * 2, iterate.size(1)};
    }();
    const Tensor dhidden = product::as_rows(gradients[0].defined() ? gradients[0] : torch::zeros(shape));
    const Tensor dprediction =
        gradients[2].defined() ? gradients[2].contiguous() : torch::zeros({shape[0], shape[1] / 2});
    const Tensor dinput_later = gradients[1].defined() ? product::as_rows(gradients[1]) : Tensor();
    Tensor diterate = torch::empty_like(iterate);
    // The last border has nothing to add: what reaches hidden reaches the input as it is.
    Tensor dinput = dinput_later.defined() ? torch::empty_like(iterate) : dhidden;
    Tensor dweight = torch::empty_like(weight);
    Tensor dbias = torch::empty({1}, weight.options());
    kernels::loop_border_backward({.rows = iterate.size(0),
                                   .width = iterate.size(1),
                                   .dhidden = dhidden.data_ptr<float>(),
                                   .dinput_later = product::data_or_null(dinput_later),
                                   .dprediction = dprediction.data_ptr<float>(),
                                   .iterate = iterate.data_ptr<float>(),
                                   .weight = weight.data_ptr<float>(),
                                   .diterate = diterate.data_ptr<float>(),
                                   .dinput = dinput_later.defined() ? dinput.data_ptr<float>() : nullptr,
                                   .dweight = dweight.data_ptr<float>(),
                                   .dbias = dbias.data_ptr<float>()},
                                  tensor::kernel_pool());
    return {diterate.view(shape), dinput.view(shape), dweight, dbias};
  }
};

}  // namespace

LoopBorder loop_border(const Settings& settings, const Tensor& iterate, const Tensor& input, const Tensor& weight,
                       const Tensor& bias) {
  base::check(iterate.dim() == 3 && iterate.size(1) % 2 == 0 && input.sizes() == iterate.sizes() && weight.dim() == 2 &&
                  weight.size(0) == 1 && weight.size(1) == iterate.size(2) && bias.numel() == 1,
              "[loop_border] expected iterate and input [batch, even time, width], weight [1, width] and bias [1], got "
              "{}, {}, {} and {}",
              fmt::join(iterate.sizes(), "x"), fmt::join(input.sizes(), "x"), fmt::join(weight.sizes(), "x"),
              fmt::join(bias.sizes(), "x"));
  if (!use_kernels(settings, iterate)) return fallback(iterate, input, weight, bias);
  const variable_list outputs = LoopBorderFunction::apply(iterate, input, weight, bias);
  return {outputs[0], outputs[1], outputs[2]};
}

}  // namespace incontext::ops
