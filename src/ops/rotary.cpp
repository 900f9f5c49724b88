#include "base/error.h"
#include "kernels/rope.h"
#include "ops/attention.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Tensor rotate(const Tensor& part, const Tensor& cosine, const Tensor& sine) {
  const std::vector<Tensor> halves = part.chunk(2, -1);
  return torch::cat({halves[0] * cosine - halves[1] * sine, halves[1] * cosine + halves[0] * sine}, -1);
}

// positions: [batch * time].
Tensor fallback(const Tensor& qkv, const AttentionHeads& heads, const Tensor& positions, double theta) {
  const int64_t rotated = heads.heads + heads.kv_heads;
  const Tensor split = qkv.view({qkv.size(0), qkv.size(1), rotated + heads.kv_heads, heads.head_dim});
  // Angles in double: a position of 100,000 times a frequency near 1 has no digits to spare in fp32.
  const auto wide = torch::TensorOptions(qkv.device()).dtype(torch::kFloat64);
  const Tensor exponents = torch::arange(heads.head_dim / 2, wide) * (-2.0 / static_cast<double>(heads.head_dim));
  const Tensor angles = (positions.to(torch::kFloat64).unsqueeze(1) * torch::pow(theta, exponents).unsqueeze(0))
                            .view({qkv.size(0), qkv.size(1), 1, heads.head_dim / 2});
  const Tensor turned = rotate(split.narrow(2, 0, rotated), angles.cos().to(qkv.dtype()), angles.sin().to(qkv.dtype()));
  return torch::cat({turned, split.narrow(2, rotated, heads.kv_heads)}, 2).view(qkv.sizes());
}

class RotaryFunction : public torch::autograd::Function<RotaryFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& qkv, const Tensor& positions, int64_t rotated_heads,
                        int64_t head_dim, double theta) {
    context->saved_data["positions"] = positions;
    context->saved_data["rotated_heads"] = rotated_heads;
    context->saved_data["head_dim"] = head_dim;
    context->saved_data["theta"] = theta;
    return turn(qkv, positions, rotated_heads, head_dim, theta, /*inverse=*/false);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    return {
        turn(gradients[0], context->saved_data["positions"].toTensor(), context->saved_data["rotated_heads"].toInt(),
             context->saved_data["head_dim"].toInt(), context->saved_data["theta"].toDouble(), /*inverse=*/true),
        Tensor(), Tensor(), Tensor(), Tensor()};
  }

 private:
  static Tensor turn(const Tensor& qkv, const Tensor& positions, int64_t rotated_heads, int64_t head_dim, double theta,
                     bool inverse) {
    Tensor turned = qkv.contiguous().clone();
    kernels::rope({.rows = positions.size(0),
                   .heads = rotated_heads,
                   .head_dim = head_dim,
                   .x = turned.data_ptr<float>(),
                   .row_stride = turned.size(2),
                   .head_stride = head_dim,
                   .positions = positions.data_ptr<int64_t>(),
                   .theta = theta,
                   .inverse = inverse},
                  tensor::kernel_pool());
    return turned;
  }
};

}  // namespace

Tensor rotary(const Settings& settings, const Tensor& qkv, const AttentionHeads& heads, const Tensor& positions,
              double theta) {
  base::check(qkv.dim() == 3 && qkv.size(2) == heads.packed_width() && heads.head_dim % 2 == 0,
              "[rotary] expected qkv [batch, time, {}] with an even head size, got [{}]", heads.packed_width(),
              fmt::join(qkv.sizes(), ", "));
  const int64_t batch = qkv.size(0);
  const int64_t time = qkv.size(1);
  base::check(positions.dim() == 1 && (positions.size(0) == time || positions.size(0) == batch * time),
              "[rotary] expected positions [{}] or [{}], got [{}]", time, batch * time,
              fmt::join(positions.sizes(), ", "));
  const Tensor all = positions.size(0) == batch * time ? positions.contiguous() : positions.repeat({batch});
  if (!use_kernels(settings, qkv)) return fallback(qkv.contiguous(), heads, all, theta);
  return RotaryFunction::apply(qkv, all, heads.heads + heads.kv_heads, heads.head_dim, theta);
}

}  // namespace incontext::ops
