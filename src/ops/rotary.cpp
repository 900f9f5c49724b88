#include "ops/rotary.h"

#include <numeric>
#include <vector>

#include "base/error.h"
#include "kernels/rope.h"
#include "ops/packed_heads.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Tensor fallback(const Tensor& qkv, const AttentionHeads& heads, const RotaryTables& tables) {
  const Tensor split = by_head(qkv, heads);
  const int64_t turned_heads = heads.heads + heads.kv_heads, half = tables.rotary_dim() / 2;
  // A row of the tables for each token.
  const auto by_token = [&](const Tensor& table) {
    return table.to(qkv.dtype()).repeat({split.size(0) / tables.rows(), 1}).unsqueeze(1);
  };
  const Tensor cosine = by_token(tables.cosine), sine = by_token(tables.sine);
  const Tensor part = split.narrow(1, 0, turned_heads);
  const Tensor a = part.narrow(2, 0, half), b = part.narrow(2, half, half);
  const Tensor turned = torch::cat(
      {a * cosine - b * sine, b * cosine + a * sine, part.narrow(2, 2 * half, heads.head_dim - 2 * half)}, 2);
  return torch::cat({turned, split.narrow(1, turned_heads, heads.kv_heads)}, 1).view(qkv.sizes());
}

// qkv is contiguous.
void turn(const Tensor& qkv, const AttentionHeads& heads, const RotaryTables& tables) {
  const Tensor cosine = tables.cosine.contiguous(), sine = tables.sine.contiguous();
  kernels::rope_turn({.rows = qkv.numel() / qkv.size(-1),
                      .heads = heads.heads + heads.kv_heads,
                      .rotary_dim = tables.rotary_dim(),
                      .x = qkv.data_ptr<float>(),
                      .row_stride = qkv.size(-1),
                      .head_stride = heads.head_dim,
                      .cosine = cosine.data_ptr<float>(),
                      .sine = sine.data_ptr<float>(),
                      .table_rows = tables.rows()},
                     tensor::kernel_pool());
}

class RotaryFunction : public torch::autograd::Function<RotaryFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& qkv, const AttentionHeads& heads,
                        const RotaryTables& tables) {
    context->saved_data["heads"] = std::vector<int64_t>{heads.heads, heads.kv_heads, heads.head_dim};
    context->saved_data["cosine"] = tables.cosine;
    context->saved_data["sine"] = tables.sine;
    Tensor turned = qkv.clone(torch::MemoryFormat::Contiguous);
    turn(turned, heads, tables);
    return turned;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto heads = context->saved_data["heads"].toIntVector();
    Tensor dqkv = gradients[0].clone(torch::MemoryFormat::Contiguous);
    turn(dqkv, {heads[0], heads[1], heads[2]},
         {context->saved_data["cosine"].toTensor(), context->saved_data["sine"].toTensor().neg()});
    return {dqkv, Tensor(), Tensor()};
  }
};

}  // namespace

RotaryTables rotary_tables(std::span<const double> inverse_frequencies, double scale, int64_t first, int64_t count,
                           torch::Device device) {
  base::check(first >= 0 && count >= 0, "[rotary_tables] expected positions from 0 on, got {} from {} on", count,
              first);
  const auto half = static_cast<int64_t>(inverse_frequencies.size());
  if (!device.is_cpu()) {
    // On the device itself, number by number: a graph that is captured there takes no copies from the host.
    const auto wide = torch::TensorOptions(device).dtype(torch::kFloat64);
    std::vector<Tensor> frequencies = {torch::empty({0}, wide)};
    for (const double frequency : inverse_frequencies) frequencies.push_back(torch::full({1}, frequency, wide));
    const Tensor angles = torch::arange(first, first + count, wide).unsqueeze(1) * torch::cat(frequencies);
    return {(angles.cos() * scale).to(torch::kFloat32), (angles.sin() * scale).to(torch::kFloat32)};
  }
  std::vector<int64_t> positions(static_cast<size_t>(count));
  std::iota(positions.begin(), positions.end(), first);
  const RotaryTables tables{torch::empty({count, half}, torch::kFloat32), torch::empty({count, half}, torch::kFloat32)};
  kernels::rope_table({.rows = count,
                       .rotary_dim = 2 * half,
                       .positions = positions.data(),
                       .inverse_frequencies = inverse_frequencies.data(),
                       .scale = scale,
                       .cosine = tables.cosine.data_ptr<float>(),
                       .sine = tables.sine.data_ptr<float>()},
                      tensor::kernel_pool());
  return tables;
}

Tensor rotary(const Settings& settings, const Tensor& qkv, const AttentionHeads& heads, const RotaryTables& tables) {
  check_packed("rotary", qkv, heads);
  const int64_t tokens = qkv.numel() / qkv.size(-1);
  const bool shared = qkv.dim() == 3 && tables.rows() == qkv.size(1);
  base::check(tables.cosine.dim() == 2 && tables.cosine.scalar_type() == torch::kFloat32 &&
                  tables.sine.scalar_type() == torch::kFloat32 && tables.sine.sizes() == tables.cosine.sizes() &&
                  tables.rotary_dim() <= heads.head_dim && (shared || tables.rows() == tokens),
              "[rotary] expected tables in float32 of {} rows and at most {} columns, got [{}] and [{}]",
              qkv.size(qkv.dim() - 2), heads.head_dim / 2, fmt::join(tables.cosine.sizes(), ", "),
              fmt::join(tables.sine.sizes(), ", "));
  if (tokens == 0) return qkv;
  if (!use_kernels(settings, qkv)) return fallback(qkv, heads, tables);
  base::check(qkv.scalar_type() == torch::kFloat32, "[rotary] expected qkv in float32, got {}",
              torch::toString(qkv.scalar_type()));
  if (wants_gradient(qkv)) return RotaryFunction::apply(qkv, heads, tables);
  const Tensor turned = qkv.contiguous();
  turn(turned, heads, tables);
  return turned;
}

}  // namespace incontext::ops
