#include "models/decoder.h"

#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/position.h"
#include "ops/read_tokens.h"
#include "ops/transformer_layer.h"

namespace incontext::models {
namespace {

using torch::Tensor;

Boundary boundary_of(const Step& step, int64_t layer, const kernels::Reads& reads) {
  Boundary boundary{.layer = layer, .loop = step.loop, .reads = reads};
  int64_t row = 0;
  for (const SequenceSlice& slice : step.sequences) {
    boundary.slices.push_back({.first_row = row, .count = slice.count, .first_position = slice.state->position()});
    row += slice.count;
  }
  return boundary;
}

}  // namespace

Decoder::Decoder(const DecoderOptions& options, int64_t input_dims, uint64_t seed, torch::Device device)
    : Decoder(options, input_dims, fresh_weights(seed, device), device) {}

Decoder::Decoder(const DecoderOptions& options, int64_t input_dims, const WeightSource& source, torch::Device device)
    : options_(options), input_dims_(input_dims), device_(device) {
  const std::string problem = options.validate();
  base::check(problem.empty(), "model: {}", problem);
  build(source);
}

void Decoder::build(const WeightSource& source) {
  const int64_t width = options_.width;
  const int64_t token_width = options_.resolved_token_width();
  const Init normal{Init::Kind::normal, options_.init_std};
  // Read-in and read-out start as torch's linear layers do: uniform within 1/sqrt(fan-in).
  const auto fan_in = [](int64_t size) { return Init{Init::Kind::uniform, 1 / std::sqrt(static_cast<double>(size))}; };
  const bool tokens = options_.tokens.vocabulary > 0;
  ParameterBuilder parameters(source, parameters_);
  if (tokens) {
    embedding_ = parameters.add("embedding.weight", {options_.tokens.vocabulary, token_width}, normal);
    if (token_width != width) token_in_ = parameters.add_linear("token_in", width, token_width, normal, false);
  } else {
    read_in_ = {parameters.add("read_in.weight", {width, input_dims_}, fan_in(input_dims_)),
                parameters.add("read_in.bias", {width}, fan_in(input_dims_))};
  }
  if (options_.position == PositionType::learned) {
    position_ = parameters.add("position.weight", {options_.max_positions, width}, normal);
  }
  int64_t cached_layers = 0;
  for (int64_t index = 0; index < options_.layers; ++index) {
    const std::string prefix = fmt::format("layers.{}.", index);
    Layer layer;
    layer.mixer_norm = Norm(options_, prefix + "norm1", parameters);
    const base::Spec spec = base::parse_spec(options_.mixer_of(index), "model.mixers", "attention");
    layer.mixer = mixers()
                      .at(spec.kind, "model.mixers")
                      .make({.options = options_,
                             .layer = index,
                             .cache_layer = cached_layers,
                             .prefix = prefix,
                             .parameters = parameters,
                             .spec = spec});
    if (layer.mixer->uses_cache()) ++cached_layers;
    if (const MlpType mlp = options_.mlp_of(index); mlp != MlpType::none) {
      layer.mlp_norm = Norm(options_, prefix + "norm2", parameters);
      layer.mlp = Mlp(options_, mlp, prefix + "mlp.", parameters);
    }
    layers_.push_back(std::move(layer));
  }
  if (options_.norm.final) final_norm_ = Norm(options_, "norm", parameters);
  if (options_.looped() && options_.loop_end() < options_.layers) loop_norm_ = Norm(options_, "loop_norm", parameters);
  if (!tokens) {
    read_out_ = {parameters.add("read_out.weight", {1, width}, fan_in(width)),
                 parameters.add("read_out.bias", {1}, fan_in(width))};
    return;
  }
  if (token_width != width) token_out_ = parameters.add_linear("token_out", token_width, width, normal, false);
  head_.matrix = options_.tokens.tied_embeddings
                     ? embedding_
                     : parameters.add("head.weight", {options_.tokens.vocabulary, token_width}, normal);
}

ops::Settings Decoder::settings_of(const Step& step) const {
  ops::Settings settings = operations_;
  settings.batch_invariant = step.ragged();
  return settings;
}

Tensor Decoder::embed(const Tensor& inputs, const Step& step) const {
  const ops::Settings settings = settings_of(step);
  const int64_t dims = step.ragged() ? 1 : 2;
  Tensor hidden;
  if (options_.tokens.vocabulary > 0) {
    base::check(inputs.dim() == dims && inputs.scalar_type() == torch::kInt64,
                "[embed] expected token ids {}, got {} [{}]", step.ragged() ? "[tokens]" : "[batch, time]",
                torch::toString(inputs.scalar_type()), fmt::join(inputs.sizes(), ", "));
    hidden = ops::embedding(embedding_, inputs);
    if (token_in_.defined()) hidden = ops::linear(settings, hidden, token_in_);
  } else {
    base::check(inputs.dim() == dims + 1 && inputs.size(-1) == input_dims_,
                "[embed] expected inputs [{}, {}], got [{}]", step.ragged() ? "tokens" : "batch, time", input_dims_,
                fmt::join(inputs.sizes(), ", "));
    hidden = ops::linear(settings, inputs, read_in_);
  }
  base::check(!step.ragged() || hidden.size(0) == step.tokens(), "a ragged step of {} tokens came with {} rows",
              step.ragged() ? step.tokens() : 0, hidden.size(0));
  if (!position_.defined()) return hidden;
  if (!step.ragged()) {
    base::check(inputs.size(1) <= options_.max_positions,
                "[embed] the model has learned positions for {} tokens (model.max_positions), got {}",
                options_.max_positions, inputs.size(1));
    return ops::add_position(settings, hidden, position_);
  }
  const std::vector<int64_t> positions = positions_of(step);
  for (const int64_t position : positions) {
    base::check(position < options_.max_positions, "the model has learned positions for {} tokens; token {} came",
                options_.max_positions, position + 1);
  }
  return hidden + ops::embedding(position_, torch::tensor(positions, torch::kInt64));
}

Tensor Decoder::run_layers(Tensor hidden, int64_t first, int64_t last, const Step& step) const {
  base::check(0 <= first && first <= last && last <= options_.layers,
              "[run_layers] expected 0 <= first <= last <= {}, got {} and {}", options_.layers, first, last);
  base::check(!step.ragged() || hidden.size(0) == step.tokens(), "a ragged step of {} tokens came with {} rows",
              step.ragged() ? step.tokens() : 0, hidden.size(0));
  PassTables tables(options_, step, hidden, *rotary_tables_);
  for (int64_t index = first; index < last; ++index) {
    if (step.hook) step.hook(boundary_of(step, index, {}), hidden);
    hidden = run_layer(index, hidden, step, tables);
  }
  if (step.hook && last == options_.layers) {
    step.hook(boundary_of(step, last, first < last ? step.reads : kernels::Reads{}), hidden);
  }
  return hidden;
}

Tensor Decoder::run_fused(const Layer& layer, const Tensor& hidden, const kernels::Reads& reads) const {
  const std::optional<PlainAttention> attention = layer.mixer->plain_attention();
  if (options_.norm.place != NormPlace::before || !attention || !layer.mlp.defined() || layer.mlp.gated()) return {};
  const ops::MlpWeights& mlp = layer.mlp.weights();
  if (!mlp.up.plain() || !mlp.down.plain()) return {};
  const ops::LayerWeights weights{layer.mixer_norm.gamma(),
                                  layer.mixer_norm.beta(),
                                  attention->qkv.matrix,
                                  attention->qkv.bias,
                                  attention->out.matrix,
                                  attention->out.bias,
                                  layer.mlp_norm.gamma(),
                                  layer.mlp_norm.beta(),
                                  mlp.up.matrix,
                                  mlp.up.bias,
                                  mlp.down.matrix,
                                  mlp.down.bias};
  const ops::LayerOptions how{
      layer.mixer_norm.kind(), layer.mixer_norm.epsilon(), attention->heads, layer.mlp.activation(), 0, reads};
  if (!ops::takes_transformer_layer(operations_, hidden, weights, how)) return {};
  return ops::transformer_layer(operations_, hidden, weights, how);
}

Tensor Decoder::run_layer(int64_t index, const Tensor& hidden, const Step& step, PassTables& tables) const {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const kernels::Reads reads = index + 1 == options_.layers ? step.reads : kernels::Reads{};
  if (!step.ragged()) {
    const Tensor fused = run_fused(layer, hidden, reads);
    if (fused.defined()) return fused;
  }
  const ops::Settings settings = settings_of(step);
  const bool norm_before = options_.norm.place == NormPlace::before;
  const ops::Normed before_mixer = norm_before
                                       ? layer.mixer_norm.split(settings, hidden, ops::Keep::for_products, reads)
                                       : ops::Normed{hidden, reads.all() ? hidden : ops::read_tokens(hidden, reads)};
  Tensor middle =
      layer.mixer->forward({.settings = settings, .step = step, .tables = tables, .x = before_mixer, .reads = reads});
  if (!norm_before) middle = layer.mixer_norm.forward(settings, middle);
  if (!layer.mlp.defined()) return middle;
  // The gradients that a gate's two products give it are summed in what it is kept in.
  const ops::Keep keep = layer.mlp.gated() ? ops::Keep::f32 : ops::Keep::for_products;
  const Tensor out = layer.mlp.forward(
      settings, norm_before ? layer.mlp_norm.split(settings, middle, keep, {}) : ops::Normed{middle, middle});
  return norm_before ? out : layer.mlp_norm.forward(settings, out);
}

Tensor Decoder::final_norm(const Tensor& hidden) const {
  return final_norm_.defined() ? final_norm_.forward(operations_, hidden) : hidden;
}

Tensor Decoder::loop_norm(const Tensor& hidden) const {
  return loop_norm_.defined() ? loop_norm_.forward(operations_, hidden) : final_norm(hidden);
}

Tensor Decoder::before_head(const Tensor& normed) const {
  ops::Settings settings = operations_;
  settings.batch_invariant = normed.dim() == 2;
  return token_out_.defined() ? ops::linear(settings, normed, token_out_) : normed;
}

Tensor Decoder::head(const Tensor& normed) const {
  if (options_.tokens.vocabulary == 0) return ops::linear(operations_, normed, read_out_).squeeze(-1);
  ops::Settings settings = operations_;
  settings.batch_invariant = normed.dim() == 2;  // rows of a ragged step
  return ops::linear(settings, before_head(normed), head_);
}

ops::LoopBorder Decoder::loop_border(const Tensor& iterate, const Tensor& input) const {
  return ops::loop_border(operations_, iterate, input, read_out_.matrix, read_out_.bias);
}

cache::CacheShape Decoder::cache_shape(int64_t capacity) const {
  int64_t layers = 0;
  for (const Layer& layer : layers_) layers += layer.mixer->uses_cache() ? 1 : 0;
  return {.layers = layers,
          .heads = options_.attention.heads,
          .kv_heads = options_.resolved_kv_heads(),
          .head_dim = options_.resolved_head_dim(),
          .capacity = capacity};
}

std::unique_ptr<cache::SequenceState> Decoder::new_sequence(const cache::CacheKind& kind, int64_t capacity) const {
  auto state = std::make_unique<cache::SequenceState>();
  state->cache = kind.make(cache_shape(capacity));
  for (const Layer& layer : layers_) state->layers.push_back(layer.mixer->initial_state());
  return state;
}

int64_t Decoder::sequence_bytes(const cache::CacheKind& kind, int64_t capacity, int64_t prompt) const {
  const cache::CacheShape shape = cache_shape(capacity);
  return (prompt > 0 ? kind.reading_bytes(shape, prompt) : kind.bytes(shape)) + state_bytes();
}

int64_t Decoder::continuing_bytes(const cache::CacheKind& kind, int64_t capacity, int64_t prompt) const {
  return kind.bytes_after(cache_shape(capacity), prompt) + state_bytes();
}

int64_t Decoder::state_bytes() const {
  int64_t bytes = 0;
  for (const Layer& layer : layers_) bytes += layer.mixer->initial_state().bytes();
  return bytes;
}

int64_t Decoder::parameter_count() const {
  int64_t count = 0;
  for (const NamedTensor& parameter : parameters_) count += parameter.tensor.numel();
  return count;
}

void Decoder::zero_gradients() {
  for (NamedTensor& parameter : parameters_) parameter.tensor.mutable_grad() = Tensor();
}

ops::Weight& Decoder::weight(const std::string& name) {
  std::vector<std::string> known;
  for (size_t index = 0; index < layers_.size(); ++index) {
    std::vector<std::pair<std::string, ops::Weight*>> weights = layers_[index].mixer->weights();
    ops::MlpWeights& mlp = layers_[index].mlp.weights();
    for (auto& [part, weight] : {std::pair{"gate", &mlp.gate}, {"up", &mlp.up}, {"down", &mlp.down}}) {
      if (weight->defined()) weights.emplace_back(std::string("mlp.") + part, weight);
    }
    for (auto& [part, weight] : weights) {
      if (fmt::format("layers.{}.{}", index, part) == name) return *weight;
      if (index == 0) known.push_back("layers.0." + part);
    }
  }
  base::fail("adapter: unknown weight '{}'; those of layer 0 are {}", name, fmt::join(known, ", "));
}

void Decoder::add_adapter(const std::string& name, int64_t rank, double alpha, uint64_t seed) {
  ops::Weight& target = weight(name);
  base::check(!target.adapter, "adapter: '{}' has one already", name);
  base::check(rank > 0, "adapter: expected a rank of at least 1, got {}", rank);
  const WeightSource source = fresh_weights(seed, device_);
  ParameterBuilder parameters(source, parameters_);
  ops::LowRank adapter;
  adapter.scale = alpha / static_cast<double>(rank);
  const double bound = 1 / std::sqrt(static_cast<double>(target.in()));
  adapter.a = parameters.add(name + ".lora_a", {rank, target.in()}, {Init::Kind::uniform, bound});
  adapter.b = parameters.add(name + ".lora_b", {target.out(), rank}, {Init::Kind::constant, 0});
  target.adapter = std::make_shared<const ops::LowRank>(std::move(adapter));
}

}  // namespace incontext::models
