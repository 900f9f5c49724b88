#include "models/decoder.h"

#include <cmath>

#include "base/random.h"
#include "ops/linear.h"
#include "ops/norm.h"

namespace incontext::models {
namespace {

using torch::Tensor;

kernels::NormKind norm_kind(const DecoderOptions& options) {
  return options.norm == "rms" ? kernels::NormKind::rms : kernels::NormKind::layer;
}

kernels::Activation activation(const DecoderOptions& options) {
  if (options.mlp == "relu") return kernels::Activation::relu;
  return options.mlp == "gelu" ? kernels::Activation::gelu_tanh : kernels::Activation::none;
}

}  // namespace

Decoder::Decoder(const DecoderOptions& options, int64_t input_dims, uint64_t seed, torch::Device device)
    : options_(options), input_dims_(input_dims), device_(device) {
  const std::string problem = options.validate();
  base::check(problem.empty(), "model: {}", problem);
  heads_ = {options.heads, options.resolved_kv_heads(), options.resolved_head_dim()};
  const int64_t width = options.width;
  // Read-in and read-out start as torch's linear layers do: uniform within 1/sqrt(fan-in).
  const double read_in_bound = 1 / std::sqrt(static_cast<double>(input_dims));
  const double read_out_bound = 1 / std::sqrt(static_cast<double>(width));
  read_in_ = add_uniform("read_in.weight", {width, input_dims}, read_in_bound, seed);
  read_in_bias_ = add_uniform("read_in.bias", {width}, read_in_bound, seed);
  if (options.position == "learned") {
    position_ = add_matrix("position.weight", {options.max_positions, width}, options.init_std, seed);
  }
  for (int64_t index = 0; index < options.layers; ++index) layers_.push_back(add_layer(index, seed));
  final_norm_ = add_norm("norm");
  if (options.looped() && options.loop_end() < options.layers) loop_norm_ = add_norm("loop_norm");
  read_out_ = add_uniform("read_out.weight", {1, width}, read_out_bound, seed);
  read_out_bias_ = add_uniform("read_out.bias", {1}, read_out_bound, seed);
}

Tensor Decoder::add(const std::string& name, torch::IntArrayRef shape, const std::function<double()>& draw) {
  Tensor tensor = torch::empty(shape, torch::kFloat32);
  float* values = tensor.data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) values[i] = static_cast<float>(draw());
  tensor = tensor.to(device_).set_requires_grad(true);
  parameters_.push_back({name, tensor});
  return tensor;
}

Tensor Decoder::add_matrix(const std::string& name, torch::IntArrayRef shape, double std, uint64_t seed) {
  base::RandomStream stream(seed, "init:" + name, 0);
  return add(name, shape, [&] { return std * stream.normal(); });
}

Tensor Decoder::add_uniform(const std::string& name, torch::IntArrayRef shape, double bound, uint64_t seed) {
  base::RandomStream stream(seed, "init:" + name, 0);
  return add(name, shape, [&] { return stream.uniform(-bound, bound); });
}

Tensor Decoder::add_constant(const std::string& name, torch::IntArrayRef shape, double value) {
  return add(name, shape, [&] { return value; });
}

Decoder::Norm Decoder::add_norm(const std::string& name) {
  Norm norm;
  norm.gamma = add_constant(name + ".weight", {options_.width}, 1);
  if (options_.norm == "layer") norm.beta = add_constant(name + ".bias", {options_.width}, 0);
  return norm;
}

Decoder::Layer Decoder::add_layer(int64_t index, uint64_t seed) {
  const std::string prefix = fmt::format("layers.{}.", index);
  const int64_t width = options_.width;
  const int64_t hidden = options_.resolved_mlp_width();
  const double std = options_.init_std;
  // GPT-2 (Radford et al. 2019): what is summed into the residual stream starts smaller, by its number of summands.
  const double residual_std = std / std::sqrt(2.0 * static_cast<double>(options_.layers));
  const auto bias = [&](const std::string& name, int64_t size) {
    return options_.bias ? add_constant(prefix + name, {size}, 0) : Tensor();
  };
  Layer layer;
  layer.attention_norm = add_norm(prefix + "norm1");
  layer.qkv = add_matrix(prefix + "attention.qkv.weight", {heads_.packed_width(), width}, std, seed);
  layer.qkv_bias = bias("attention.qkv.bias", heads_.packed_width());
  layer.out = add_matrix(prefix + "attention.out.weight", {width, heads_.heads * heads_.head_dim}, residual_std, seed);
  layer.out_bias = bias("attention.out.bias", width);
  if (options_.mlp == "none") return layer;
  layer.mlp_norm = add_norm(prefix + "norm2");
  if (options_.mlp == "gated") layer.mlp.gate = add_matrix(prefix + "mlp.gate.weight", {hidden, width}, std, seed);
  layer.mlp.up = add_matrix(prefix + "mlp.up.weight", {hidden, width}, std, seed);
  layer.mlp.up_bias = bias("mlp.up.bias", hidden);
  layer.mlp.down = add_matrix(prefix + "mlp.down.weight", {width, hidden}, residual_std, seed);
  layer.mlp.down_bias = bias("mlp.down.bias", width);
  return layer;
}

Tensor Decoder::embed(const Tensor& inputs) const {
  base::check(inputs.dim() == 3 && inputs.size(2) == input_dims_, "[embed] expected inputs [batch, time, {}], got {}",
              input_dims_, fmt::join(inputs.sizes(), "x"));
  Tensor hidden = ops::linear(operations_, inputs, read_in_, read_in_bias_);
  if (!position_.defined()) return hidden;
  base::check(inputs.size(1) <= options_.max_positions,
              "[embed] the model has learned positions for {} tokens (model.max_positions), got {}",
              options_.max_positions, inputs.size(1));
  return hidden + position_.narrow(0, 0, inputs.size(1));
}

Tensor Decoder::run_layers(Tensor hidden, int64_t first, int64_t last, const Step& step) const {
  base::check(0 <= first && first <= last && last <= options_.layers,
              "[run_layers] expected 0 <= first <= last <= {}, got {} and {}", options_.layers, first, last);
  for (int64_t index = first; index < last; ++index) {
    if (step.at_border) step.at_border(index, hidden);
    const bool is_last = index + 1 == options_.layers;
    hidden = run_layer(layers_[static_cast<size_t>(index)], hidden, is_last ? step.read_every : 1);
  }
  if (step.at_border && last == options_.layers) step.at_border(last, hidden);
  return hidden;
}

Tensor Decoder::run_layer(const Layer& layer, const Tensor& hidden, int64_t read_every) const {
  const auto kind = norm_kind(options_);
  const ops::Normed before_attention = ops::norm(operations_, kind, hidden, layer.attention_norm.gamma,
                                                 layer.attention_norm.beta, options_.norm_epsilon);
  Tensor qkv = ops::linear(operations_, before_attention.normed, layer.qkv, layer.qkv_bias);
  if (options_.position == "rotary") {
    const Tensor positions = torch::arange(hidden.size(1), torch::TensorOptions(hidden.device()).dtype(torch::kInt64));
    qkv = ops::rotary(operations_, qkv, heads_, positions, options_.rope_theta);
  }
  Tensor attended = ops::attention(operations_, qkv, heads_, /*causal=*/true);
  Tensor residual = before_attention.residual;
  if (read_every > 1) {
    const auto read = [&](const Tensor& tensor) { return tensor.slice(1, 0, tensor.size(1), read_every).contiguous(); };
    attended = read(attended);
    residual = read(residual);
  }
  const Tensor middle = ops::linear(operations_, attended, layer.out, layer.out_bias, residual);
  if (options_.mlp == "none") return middle;
  const ops::Normed before_mlp =
      ops::norm(operations_, kind, middle, layer.mlp_norm.gamma, layer.mlp_norm.beta, options_.norm_epsilon);
  return ops::mlp(operations_, before_mlp.normed, layer.mlp, activation(options_), before_mlp.residual);
}

Tensor Decoder::apply_norm(const Norm& norm, const Tensor& hidden) const {
  return ops::norm(operations_, norm_kind(options_), hidden, norm.gamma, norm.beta, options_.norm_epsilon).normed;
}

Tensor Decoder::final_norm(const Tensor& hidden) const { return apply_norm(final_norm_, hidden); }

Tensor Decoder::loop_norm(const Tensor& hidden) const {
  return apply_norm(loop_norm_.gamma.defined() ? loop_norm_ : final_norm_, hidden);
}

Tensor Decoder::head(const Tensor& normed) const {
  return ops::linear(operations_, normed, read_out_, read_out_bias_).squeeze(-1);
}

int64_t Decoder::parameter_count() const {
  int64_t count = 0;
  for (const NamedTensor& parameter : parameters_) count += parameter.tensor.numel();
  return count;
}

void Decoder::zero_gradients() {
  for (NamedTensor& parameter : parameters_) parameter.tensor.mutable_grad() = Tensor();
}

}  // namespace incontext::models
