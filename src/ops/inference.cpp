#include "ops/inference.h"

#include "base/error.h"
#include "kernels/activation.h"
#include "kernels/weight_product.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using torch::Tensor;

kernels::Storage storage_of(const Tensor& weight) {
  switch (weight.scalar_type()) {
    case torch::kFloat32:
      return kernels::Storage::f32;
    case torch::kFloat16:
      return kernels::Storage::f16;
    case torch::kBFloat16:
      return kernels::Storage::bf16;
    default:
      base::fail("[project] expected a weight in f32, f16 or bf16, got {}", torch::toString(weight.scalar_type()));
  }
}

void check_weight(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  base::check(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1) && weight.stride(1) == 1,
              "[project] expected x [rows, in] and weight [out, in] with contiguous rows, got [{}] and [{}]",
              fmt::join(x.sizes(), ", "), fmt::join(weight.sizes(), ", "));
  base::check(!bias.defined() || (bias.sizes() == torch::IntArrayRef({weight.size(0)}) &&
                                  bias.scalar_type() == torch::kFloat32 && bias.is_contiguous()),
              "[project] expected a bias of {} in float32", weight.size(0));
}

Tensor fallback(const Settings& settings, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const bool bf16 = settings.precision == kernels::Precision::bf16;
  const Tensor rounded = bf16 ? x.to(torch::kBFloat16).to(x.scalar_type()) : x;
  const Tensor y = torch::matmul(rounded, weight.to(x.device(), x.scalar_type()).t());
  return bias.defined() ? y + bias : y;
}

}  // namespace

Tensor project(const Settings& settings, const Tensor& x, std::span<const Tensor> weights,
               std::span<const Tensor> biases) {
  base::check(!weights.empty() && (biases.empty() || biases.size() == weights.size()),
              "[project] expected a bias for each of {} weights, got {}", weights.size(), biases.size());
  const auto bias_of = [&](size_t index) { return biases.empty() ? Tensor() : biases[index]; };
  int64_t width = 0;
  for (size_t index = 0; index < weights.size(); ++index) {
    check_weight(x, weights[index], bias_of(index));
    width += weights[index].size(0);
  }
  if (!use_kernels(settings, x)) {
    std::vector<Tensor> parts;
    for (size_t index = 0; index < weights.size(); ++index) {
      parts.push_back(fallback(settings, x, weights[index], bias_of(index)));
    }
    return torch::cat(parts, 1);
  }
  const Tensor rows = x.contiguous();
  Tensor y = torch::empty({x.size(0), width}, x.options());
  std::vector<kernels::WeightMatrix> matrices;
  float* at = y.data_ptr<float>();
  for (size_t index = 0; index < weights.size(); ++index) {
    const Tensor bias = bias_of(index);
    matrices.push_back({.storage = storage_of(weights[index]),
                        .weight = weights[index].data_ptr(),
                        .stride = weights[index].stride(0),
                        .columns = weights[index].size(0),
                        .bias = bias.defined() ? bias.data_ptr<float>() : nullptr,
                        .y = at,
                        .y_stride = width});
    at += weights[index].size(0);
  }
  kernels::weight_product({.rows = rows.size(0),
                           .depth = rows.size(1),
                           .x = rows.data_ptr<float>(),
                           .x_stride = rows.size(1),
                           .matrices = matrices,
                           .precision = settings.precision},
                          tensor::kernel_pool());
  return y;
}

Tensor project(const Settings& settings, const Tensor& x, const Tensor& weight, const Tensor& bias,
               const Tensor& residual) {
  check_weight(x, weight, bias);
  base::check(!residual.defined() || residual.sizes() == torch::IntArrayRef({x.size(0), weight.size(0)}),
              "[project] expected a residual [{}, {}]", x.size(0), weight.size(0));
  if (!use_kernels(settings, x)) {
    const Tensor y = fallback(settings, x, weight, bias);
    return residual.defined() ? y + residual : y;
  }
  const Tensor rows = x.contiguous();
  const Tensor added = residual.defined() ? residual.contiguous() : Tensor();
  Tensor y = torch::empty({x.size(0), weight.size(0)}, x.options());
  const kernels::WeightMatrix matrix{.storage = storage_of(weight),
                                     .weight = weight.data_ptr(),
                                     .stride = weight.stride(0),
                                     .columns = weight.size(0),
                                     .bias = bias.defined() ? bias.data_ptr<float>() : nullptr,
                                     .residual = added.defined() ? added.data_ptr<float>() : nullptr,
                                     .y = y.data_ptr<float>(),
                                     .y_stride = weight.size(0)};
  kernels::weight_product({.rows = rows.size(0),
                           .depth = rows.size(1),
                           .x = rows.data_ptr<float>(),
                           .x_stride = rows.size(1),
                           .matrices = {&matrix, 1},
                           .precision = settings.precision},
                          tensor::kernel_pool());
  return y;
}

Tensor gated(const Settings& settings, const Tensor& x) {
  base::check(x.dim() == 2 && x.size(1) % 2 == 0, "[gated] expected x [rows, 2 * hidden], got [{}]",
              fmt::join(x.sizes(), ", "));
  const int64_t hidden = x.size(1) / 2;
  if (!use_kernels(settings, x)) return torch::silu(x.narrow(1, 0, hidden)) * x.narrow(1, hidden, hidden);
  const Tensor rows = x.contiguous();
  Tensor out = torch::empty({rows.size(0), hidden}, x.options());
  kernels::silu_and_multiply({.rows = rows.size(0),
                              .width = hidden,
                              .gate = rows.data_ptr<float>(),
                              .up = rows.data_ptr<float>() + hidden,
                              .stride = 2 * hidden,
                              .out = out.data_ptr<float>(),
                              .out_stride = hidden},
                             tensor::kernel_pool());
  return out;
}

Tensor activate(const Settings& settings, Tensor x, kernels::Activation activation) {
  if (activation == kernels::Activation::relu) return torch::relu_(x);
  if (activation == kernels::Activation::none) return x;
  if (!use_kernels(settings, x) || !x.is_contiguous()) return torch::gelu(x, "tanh");
  kernels::gelu_in_place({.rows = x.size(0), .width = x.size(1), .x = x.data_ptr<float>()}, tensor::kernel_pool());
  return x;
}

Tensor look_up(const Tensor& table, const Tensor& ids) {
  base::check(ids.numel() == 0 || (ids.min().item<int64_t>() >= 0 && ids.max().item<int64_t>() < table.size(0)),
              "expected token ids from 0 to {}, got {} to {}", table.size(0) - 1, ids.min().item<int64_t>(),
              ids.max().item<int64_t>());
  return table.index_select(0, ids.reshape({-1})).to(torch::kFloat32);
}

}  // namespace incontext::ops
