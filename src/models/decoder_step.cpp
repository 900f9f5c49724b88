#include <cmath>

#include "base/error.h"
#include "kernels/rope.h"
#include "models/decoder.h"
#include "models/rope_frequencies.h"
#include "ops/inference.h"
#include "ops/norm.h"
#include "tensor/device.h"

// Ragged steps of the decoder: the next tokens of some sequences, each with its own cache. Without gradients.

namespace incontext::models {
namespace {

using torch::Tensor;

int64_t tokens_of(const Step& step) {
  int64_t tokens = 0;
  for (const SequenceSlice& slice : step.sequences) tokens += slice.count;
  return tokens;
}

void check_tokens(const Tensor& tensor, const Step& step) {
  base::check(tensor.size(0) == tokens_of(step), "a ragged step of {} tokens came with {} rows", tokens_of(step),
              tensor.size(0));
}

// Position of every token, by how much of its sequence the given layer holds already.
std::vector<int64_t> positions_of(const Step& step, int64_t layer) {
  std::vector<int64_t> positions;
  for (const SequenceSlice& slice : step.sequences) {
    const int64_t first = slice.state->cache->length(layer);
    for (int64_t i = 0; i < slice.count; ++i) positions.push_back(first + i);
  }
  return positions;
}

// The rope epoch of a sequence whose next tokens begin at `position`.
int64_t settle_epoch(const DecoderOptions& options, const SequenceSlice& slice, int64_t position) {
  const int64_t reached = rope_epoch(options, position + slice.count);
  std::optional<int64_t>& epoch = slice.state->rope_epoch;
  if (!epoch) {
    base::check(position == 0 || !has_rope_epochs(options),
                "a sequence of {} tokens came without the rope epoch that its keys were computed with", position);
    epoch = reached;
  }
  base::check(reached <= *epoch,
              "a sequence of {} tokens has outgrown the rotary factors of its cached keys: compute it again",
              position + slice.count);
  return *epoch;
}

}  // namespace

Tensor Decoder::embed_ragged(const Tensor& tokens, const Step& step) const {
  base::check(options_.vocabulary > 0 && tokens.dim() == 1 && tokens.scalar_type() == torch::kInt64,
              "[embed] expected token ids [tokens], got {} [{}]", torch::toString(tokens.scalar_type()),
              fmt::join(tokens.sizes(), ", "));
  check_tokens(tokens, step);
  Tensor hidden = ops::look_up(embedding_, tokens);
  if (token_in_.defined()) hidden = ops::project(operations_, hidden, {&token_in_, 1});
  if (!position_.defined()) return hidden;
  const std::vector<int64_t> positions = positions_of(step, 0);
  for (const int64_t position : positions) {
    base::check(position < options_.max_positions, "the model has learned positions for {} tokens; token {} came",
                options_.max_positions, position + 1);
  }
  return hidden + ops::look_up(position_, torch::tensor(positions, torch::kInt64));
}

Tensor Decoder::run_layer_ragged(int64_t index, const Tensor& hidden, const Step& step) const {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const bool norm_before = options_.norm_place == "before";
  const Tensor attended = attend_ragged(index, norm_before ? apply_norm(layer.attention_norm, hidden) : hidden, step);
  Tensor middle = ops::project(operations_, attended, layer.out, layer.out_bias, hidden);
  if (!norm_before) middle = apply_norm(layer.attention_norm, middle);
  if (options_.mlp == "none") return middle;
  const Tensor out = mlp_ragged(layer, norm_before ? apply_norm(layer.mlp_norm, middle) : middle, middle);
  return norm_before ? out : apply_norm(layer.mlp_norm, out);
}

Tensor Decoder::mlp_ragged(const Layer& layer, const Tensor& normed, const Tensor& residual) const {
  Tensor inner;
  if (layer.mlp.gate.defined()) {
    const Tensor weights[2] = {layer.mlp.gate, layer.mlp.up};
    const Tensor biases[2] = {layer.mlp.gate_bias, layer.mlp.up_bias};
    inner = ops::gated(operations_, ops::project(operations_, normed, weights, biases));
  } else {
    inner = ops::activate(operations_, ops::project(operations_, normed, layer.mlp.up, layer.mlp.up_bias, {}),
                          options_.mlp == "relu" ? kernels::Activation::relu : kernels::Activation::gelu_tanh);
  }
  return ops::project(operations_, inner, layer.mlp.down, layer.mlp.down_bias, residual);
}

void Decoder::normalise_heads(Tensor& qkv, int64_t first_head, int64_t heads, const Tensor& gamma) const {
  Tensor part = qkv.narrow(1, first_head * heads_.head_dim, heads * heads_.head_dim);
  const Tensor rows = part.reshape({qkv.size(0) * heads, heads_.head_dim});
  part.copy_(
      ops::norm(operations_, kernels::NormKind::rms, rows, gamma, {}, options_.norm_epsilon).normed.view(part.sizes()));
}

const RotaryAngles& Decoder::angles_of(int64_t layer, const Step& step) const {
  std::vector<int64_t> positions = positions_of(step, layer);
  if (positions == step.angles.positions) return step.angles;
  const int64_t pairs = options_.rotary_dim() / 2;
  const auto rows = static_cast<int64_t>(positions.size());
  RotaryAngles angles{.positions = std::move(positions),
                      .cosine = torch::empty({rows, pairs}, torch::kFloat32),
                      .sine = torch::empty({rows, pairs}, torch::kFloat32)};
  int64_t first = 0;
  for (const SequenceSlice& slice : step.sequences) {
    const RopeFrequencies frequencies =
        rope_frequencies(options_, settle_epoch(options_, slice, angles.positions[static_cast<size_t>(first)]));
    kernels::rope_table({.rows = slice.count,
                         .rotary_dim = 2 * pairs,
                         .positions = angles.positions.data() + first,
                         .inverse_frequencies = frequencies.inverse.data(),
                         .scale = frequencies.scale,
                         .cosine = angles.cosine.data_ptr<float>() + first * pairs,
                         .sine = angles.sine.data_ptr<float>() + first * pairs},
                        tensor::kernel_pool());
    first += slice.count;
  }
  step.angles = std::move(angles);
  return step.angles;
}

Tensor Decoder::attend_ragged(int64_t index, const Tensor& normed, const Step& step) const {
  check_tokens(normed, step);
  const Layer& layer = layers_[static_cast<size_t>(index)];
  Tensor qkv = ops::project(operations_, normed, layer.qkv, layer.qkv_bias);
  if (options_.qk_norm) {
    normalise_heads(qkv, 0, heads_.heads, layer.query_norm);
    normalise_heads(qkv, heads_.heads, heads_.kv_heads, layer.key_norm);
  }
  if (options_.position == "rotary") {
    const RotaryAngles& angles = angles_of(index, step);
    kernels::rope_turn({.rows = qkv.size(0),
                        .heads = heads_.heads + heads_.kv_heads,
                        .rotary_dim = options_.rotary_dim(),
                        .x = qkv.data_ptr<float>(),
                        .row_stride = qkv.size(1),
                        .head_stride = heads_.head_dim,
                        .cosine = angles.cosine.data_ptr<float>(),
                        .sine = angles.sine.data_ptr<float>()},
                       tensor::kernel_pool());
  }

  const int64_t stride = qkv.size(1);
  const int64_t attended_width = heads_.heads * heads_.head_dim;
  Tensor out = torch::empty({qkv.size(0), attended_width}, qkv.options());
  const float* queries = qkv.data_ptr<float>();
  float* attended = out.data_ptr<float>();
  std::vector<cache::Attending> sequences;
  for (const SequenceSlice& slice : step.sequences) {
    cache::KvCache& cache = *slice.state->cache;
    const float* keys = queries + attended_width;
    cache.append(index, {keys, stride}, {keys + heads_.kv_heads * heads_.head_dim, stride}, slice.count);
    sequences.push_back({.cache = &cache,
                         .queries = {queries, stride},
                         .count = slice.count,
                         .out = attended,
                         .out_stride = attended_width});
    queries += slice.count * stride;
    attended += slice.count * attended_width;
  }
  double divisor = options_.scale_by_layer ? static_cast<double>(index + 1) : 1;
  if (options_.scale_scores) divisor *= std::sqrt(static_cast<double>(heads_.head_dim));
  cache::attend(index, sequences, {.scale = static_cast<float>(1 / divisor), .window = options_.window_of(index)});
  return out;
}

}  // namespace incontext::models
