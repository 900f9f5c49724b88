#include "models/decoder.h"

#include <cmath>

#include "base/random.h"
#include "ops/inference.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/position.h"
#include "ops/transformer_layer.h"

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

// Draws parameters as leaves of the autograd graph.
WeightSource fresh_weights(uint64_t seed, torch::Device device) {
  const auto draw = [seed, device](const std::string& name, torch::IntArrayRef shape, const Init& init) {
    Tensor tensor = torch::empty(shape, torch::kFloat32);
    float* values = tensor.data_ptr<float>();
    base::RandomStream stream(seed, "init:" + name, 0);
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      double value = init.value;
      if (init.kind == Init::Kind::normal) value *= stream.normal();
      if (init.kind == Init::Kind::uniform) value = stream.uniform(-init.value, init.value);
      values[i] = static_cast<float>(value);
    }
    return tensor.to(device).set_requires_grad(true);
  };
  return {.get = draw, .packed_qkv = true};
}

// GPT-2 (Radford et al. 2019): what is summed into the residual stream starts smaller, by its number of summands.
Init residual_init(const DecoderOptions& options) {
  return {Init::Kind::normal, options.init_std / std::sqrt(2.0 * static_cast<double>(options.layers))};
}

}  // namespace

Decoder::Decoder(const DecoderOptions& options, int64_t input_dims, uint64_t seed, torch::Device device)
    : Decoder(options, input_dims, fresh_weights(seed, device), device) {}

Decoder::Decoder(const DecoderOptions& options, int64_t input_dims, const WeightSource& source, torch::Device device)
    : options_(options), input_dims_(input_dims), device_(device) {
  const std::string problem = options.validate();
  base::check(problem.empty(), "model: {}", problem);
  heads_ = {options.heads, options.resolved_kv_heads(), options.resolved_head_dim()};
  build(source);
}

void Decoder::build(const WeightSource& source) {
  const int64_t width = options_.width;
  const int64_t token_width = options_.resolved_token_width();
  const Init normal{Init::Kind::normal, options_.init_std};
  // Read-in and read-out start as torch's linear layers do: uniform within 1/sqrt(fan-in).
  const auto fan_in = [](int64_t size) { return Init{Init::Kind::uniform, 1 / std::sqrt(static_cast<double>(size))}; };
  const bool tokens = options_.vocabulary > 0;
  if (tokens) {
    embedding_ = add(source, "embedding.weight", {options_.vocabulary, token_width}, normal);
    if (token_width != width) token_in_ = add(source, "token_in.weight", {width, token_width}, normal);
  } else {
    read_in_ = add(source, "read_in.weight", {width, input_dims_}, fan_in(input_dims_));
    read_in_bias_ = add(source, "read_in.bias", {width}, fan_in(input_dims_));
  }
  if (options_.position == "learned") {
    position_ = add(source, "position.weight", {options_.max_positions, width}, normal);
  }
  for (int64_t index = 0; index < options_.layers; ++index) {
    const std::string prefix = fmt::format("layers.{}.", index);
    Layer layer;
    layer.attention_norm = add_norm(source, prefix + "norm1");
    add_attention(source, prefix + "attention.", layer);
    if (options_.mlp != "none") {
      layer.mlp_norm = add_norm(source, prefix + "norm2");
      add_mlp(source, prefix + "mlp.", layer);
    }
    layers_.push_back(std::move(layer));
  }
  if (options_.final_norm) final_norm_ = add_norm(source, "norm");
  if (options_.looped() && options_.loop_end() < options_.layers) loop_norm_ = add_norm(source, "loop_norm");
  if (!tokens) {
    read_out_ = add(source, "read_out.weight", {1, width}, fan_in(width));
    read_out_bias_ = add(source, "read_out.bias", {1}, fan_in(width));
    return;
  }
  if (token_width != width) token_out_ = add(source, "token_out.weight", {token_width, width}, normal);
  head_ =
      options_.tied_embeddings ? embedding_ : add(source, "head.weight", {options_.vocabulary, token_width}, normal);
}

Tensor Decoder::add(const WeightSource& source, const std::string& name, torch::IntArrayRef shape, const Init& init) {
  const Tensor tensor = source.get(name, shape, init);
  base::check(tensor.sizes() == shape, "tensor '{}': expected shape [{}], got [{}]", name, fmt::join(shape, ", "),
              fmt::join(tensor.sizes(), ", "));
  parameters_.push_back({name, tensor});
  return tensor;
}

Decoder::Norm Decoder::add_norm(const WeightSource& source, const std::string& name) {
  Norm norm;
  norm.gamma = add(source, name + ".weight", {options_.width}, {Init::Kind::constant, 1});
  if (options_.norm == "layer") norm.beta = add(source, name + ".bias", {options_.width}, {Init::Kind::constant, 0});
  return norm;
}

void Decoder::add_attention(const WeightSource& source, const std::string& prefix, Layer& layer) {
  const int64_t width = options_.width;
  const Init normal{Init::Kind::normal, options_.init_std};
  const Init zero{Init::Kind::constant, 0};
  const auto add_part = [&](const std::string& name, int64_t size) {
    layer.qkv.push_back(add(source, prefix + name + ".weight", {size, width}, normal));
    if (options_.bias || options_.qkv_bias) {
      layer.qkv_bias.push_back(add(source, prefix + name + ".bias", {size}, zero));
    }
  };
  if (source.packed_qkv) {
    add_part("qkv", heads_.packed_width());
  } else {
    add_part("q", heads_.heads * heads_.head_dim);
    add_part("k", heads_.kv_heads * heads_.head_dim);
    add_part("v", heads_.kv_heads * heads_.head_dim);
  }
  if (options_.qk_norm) {
    layer.query_norm = add(source, prefix + "q_norm.weight", {heads_.head_dim}, {Init::Kind::constant, 1});
    layer.key_norm = add(source, prefix + "k_norm.weight", {heads_.head_dim}, {Init::Kind::constant, 1});
  }
  layer.out = add(source, prefix + "out.weight", {width, heads_.heads * heads_.head_dim}, residual_init(options_));
  if (options_.bias || options_.out_bias) layer.out_bias = add(source, prefix + "out.bias", {width}, zero);
}

void Decoder::add_mlp(const WeightSource& source, const std::string& prefix, Layer& layer) {
  const int64_t width = options_.width;
  const int64_t hidden = options_.resolved_mlp_width();
  const Init normal{Init::Kind::normal, options_.init_std};
  const Init zero{Init::Kind::constant, 0};
  const bool bias = options_.bias || options_.mlp_bias;
  if (options_.mlp == "gated") {
    layer.mlp.gate = add(source, prefix + "gate.weight", {hidden, width}, normal);
    if (options_.mlp_bias) layer.mlp.gate_bias = add(source, prefix + "gate.bias", {hidden}, zero);
  }
  layer.mlp.up = add(source, prefix + "up.weight", {hidden, width}, normal);
  if (bias) layer.mlp.up_bias = add(source, prefix + "up.bias", {hidden}, zero);
  layer.mlp.down = add(source, prefix + "down.weight", {width, hidden}, residual_init(options_));
  if (bias) layer.mlp.down_bias = add(source, prefix + "down.bias", {width}, zero);
}

Tensor Decoder::embed(const Tensor& inputs, const Step& step) const {
  if (!step.sequences.empty()) return embed_ragged(inputs, step);
  Tensor hidden;
  if (options_.vocabulary > 0) {
    base::check(inputs.dim() == 2 && inputs.scalar_type() == torch::kInt64,
                "[embed] expected token ids [batch, time], got {} [{}]", torch::toString(inputs.scalar_type()),
                fmt::join(inputs.sizes(), ", "));
    hidden = torch::embedding(embedding_, inputs);
    if (token_in_.defined()) hidden = ops::linear(operations_, hidden, token_in_);
  } else {
    base::check(inputs.dim() == 3 && inputs.size(2) == input_dims_, "[embed] expected inputs [batch, time, {}], got {}",
                input_dims_, fmt::join(inputs.sizes(), "x"));
    hidden = ops::linear(operations_, inputs, read_in_, read_in_bias_);
  }
  if (!position_.defined()) return hidden;
  base::check(inputs.size(1) <= options_.max_positions,
              "[embed] the model has learned positions for {} tokens (model.max_positions), got {}",
              options_.max_positions, inputs.size(1));
  return ops::add_position(operations_, hidden, position_);
}

Tensor Decoder::run_layers(Tensor hidden, int64_t first, int64_t last, const Step& step) const {
  base::check(0 <= first && first <= last && last <= options_.layers,
              "[run_layers] expected 0 <= first <= last <= {}, got {} and {}", options_.layers, first, last);
  for (int64_t index = first; index < last; ++index) {
    if (step.at_border) step.at_border(index, hidden);
    hidden = step.sequences.empty() ? run_layer(index, hidden, step) : run_layer_ragged(index, hidden, step);
  }
  if (step.at_border && last == options_.layers) step.at_border(last, hidden);
  return hidden;
}

Tensor Decoder::run_layer(int64_t index, const Tensor& hidden, const Step& step) const {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const auto kind = norm_kind(options_);
  const bool norm_before = options_.norm_place == "before";
  const auto norm = [&](const Norm& weights, const Tensor& x, ops::Keep keep, int64_t residual_every = 1) {
    if (!norm_before) return ops::Normed{x, residual_every == 1 ? x : x.slice(1, 0, x.size(1), residual_every)};
    return ops::norm(operations_, kind, x, weights.gamma, weights.beta, options_.norm_epsilon, keep, residual_every);
  };
  const int64_t read_every = index + 1 == options_.layers ? step.read_every : 1;
  if (norm_before && plain_attention() && options_.mlp != "none") {
    const auto bias_of = [](const std::vector<Tensor>& biases) { return biases.empty() ? Tensor() : biases[0]; };
    const ops::LayerWeights weights{layer.attention_norm.gamma,
                                    layer.attention_norm.beta,
                                    layer.qkv[0],
                                    bias_of(layer.qkv_bias),
                                    layer.out,
                                    layer.out_bias,
                                    layer.mlp_norm.gamma,
                                    layer.mlp_norm.beta,
                                    layer.mlp};
    const ops::LayerOptions how{kind, options_.norm_epsilon, heads_, activation(options_), read_every};
    if (ops::takes_transformer_layer(operations_, hidden, weights, how)) {
      return ops::transformer_layer(operations_, hidden, weights, how);
    }
  }
  const ops::Normed before_attention = norm(layer.attention_norm, hidden, ops::Keep::for_products, read_every);
  const Tensor attended = attend_whole(layer, before_attention.normed, read_every);
  Tensor middle = ops::linear(operations_, attended, layer.out, layer.out_bias, before_attention.residual);
  if (!norm_before) middle = apply_norm(layer.attention_norm, middle);
  if (options_.mlp == "none") return middle;
  // The gradients that a gate's two products give it are summed in what it is kept in.
  const ops::Normed before_mlp =
      norm(layer.mlp_norm, middle, options_.mlp == "gated" ? ops::Keep::f32 : ops::Keep::for_products);
  const Tensor out = ops::mlp(operations_, before_mlp.normed, layer.mlp, activation(options_), before_mlp.residual);
  return norm_before ? out : apply_norm(layer.mlp_norm, out);
}

bool Decoder::plain_attention() const {
  return layers_.front().qkv.size() == 1 && options_.position != "rotary" && !options_.qk_norm &&
         options_.sliding_window == 0 && options_.scale_scores && !options_.scale_by_layer;
}

Tensor Decoder::attend_whole(const Layer& layer, const Tensor& normed, int64_t query_every) const {
  base::check(layer.qkv.size() == 1 && !options_.qk_norm && options_.sliding_window == 0 && options_.scale_scores &&
                  !options_.scale_by_layer && options_.rope_scaling.type == "none" && options_.rotary_fraction == 1,
              "whole sequences without a cache: expected a model with packed queries, keys and values and plain "
              "attention; run this one with caches");
  const bool rotary = options_.position == "rotary";
  Tensor qkv =
      ops::project_qkv(operations_, normed, layer.qkv[0], layer.qkv_bias.empty() ? Tensor() : layer.qkv_bias[0], heads_,
                       rotary ? ops::Keep::f32 : ops::Keep::for_products, query_every);
  if (rotary) {
    const Tensor positions = torch::arange(normed.size(1), torch::TensorOptions(normed.device()).dtype(torch::kInt64));
    qkv = ops::rotary(operations_, qkv, heads_, positions, options_.rope_theta);
  }
  return ops::attention(operations_, qkv, heads_, /*causal=*/true, ops::Keep::for_products, query_every);
}

Tensor Decoder::apply_norm(const Norm& norm, const Tensor& hidden) const {
  return ops::norm(operations_, norm_kind(options_), hidden, norm.gamma, norm.beta, options_.norm_epsilon).normed;
}

Tensor Decoder::final_norm(const Tensor& hidden) const {
  return options_.final_norm ? apply_norm(final_norm_, hidden) : hidden;
}

Tensor Decoder::loop_norm(const Tensor& hidden) const {
  return apply_norm(loop_norm_.gamma.defined() ? loop_norm_ : final_norm_, hidden);
}

Tensor Decoder::head(const Tensor& normed) const {
  if (options_.vocabulary == 0) return ops::linear(operations_, normed, read_out_, read_out_bias_).squeeze(-1);
  if (normed.dim() == 2 && !torch::GradMode::is_enabled()) {
    const Tensor narrow = token_out_.defined() ? ops::project(operations_, normed, {&token_out_, 1}) : normed;
    return ops::project(operations_, narrow, {&head_, 1});
  }
  const Tensor narrow = token_out_.defined() ? ops::linear(operations_, normed, token_out_) : normed;
  return ops::linear(operations_, narrow, head_);
}

ops::LoopBorder Decoder::loop_border(const Tensor& iterate, const Tensor& input) const {
  return ops::loop_border(operations_, iterate, input, read_out_, read_out_bias_);
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
