#include "base/error.h"
#include "ops/attention.h"

namespace incontext::ops {
namespace {

using torch::Tensor;

Tensor rotate(const Tensor& part, const Tensor& cosine, const Tensor& sine) {
  const std::vector<Tensor> halves = part.chunk(2, -1);
  return torch::cat({halves[0] * cosine - halves[1] * sine, halves[1] * cosine + halves[0] * sine}, -1);
}

}  // namespace

Tensor rotary(const Settings&, const Tensor& qkv, const AttentionHeads& heads, const Tensor& positions, double theta) {
  const int64_t batch = qkv.size(0);
  const int64_t time = qkv.size(1);
  base::check(positions.dim() == 1 && (positions.size(0) == time || positions.size(0) == batch * time),
              "[rotary] expected positions [{}] or [{}], got [{}]", time, batch * time,
              fmt::join(positions.sizes(), ", "));
  const int64_t rotated = heads.heads + heads.kv_heads;
  const Tensor split = qkv.view({batch, time, rotated + heads.kv_heads, heads.head_dim});
  // Angles in double: a position of 100,000 times a frequency near 1 has no digits to spare in fp32.
  const auto wide = torch::TensorOptions(qkv.device()).dtype(torch::kFloat64);
  const Tensor exponents = torch::arange(heads.head_dim / 2, wide) * (-2.0 / static_cast<double>(heads.head_dim));
  const Tensor angles = (positions.to(torch::kFloat64).unsqueeze(1) * torch::pow(theta, exponents).unsqueeze(0))
                            .view({positions.size(0) == time ? 1 : batch, time, 1, heads.head_dim / 2});
  const Tensor turned =
      rotate(split.narrow(2, 0, rotated), angles.cos().to(qkv.dtype()), angles.sin().to(qkv.dtype()));
  return torch::cat({turned, split.narrow(2, rotated, heads.kv_heads)}, 2).view(qkv.sizes());
}

}  // namespace incontext::ops
