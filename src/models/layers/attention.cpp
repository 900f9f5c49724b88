#include "models/layers/attention.h"

#include <cmath>

#include "base/error.h"
#include "cache/kv_cache.h"
#include "models/layers/residual_init.h"
#include "ops/linear.h"
#include "ops/norm_heads.h"

namespace incontext::models {

using torch::Tensor;

Attention::Attention(const MixerBuild& build)
    : heads_{build.options.attention.heads, build.options.resolved_kv_heads(), build.options.resolved_head_dim()},
      cache_layer_(build.cache_layer),
      window_(build.options.attention.window.of_layer(build.layer)),
      rotary_(build.options.position == PositionType::rotary),
      norm_epsilon_(build.options.norm.epsilon) {
  base::check(build.spec.words.empty() && build.spec.values.empty(), "model.mixers: attention has no options, got '{}'",
              build.spec.text());
  const DecoderOptions& options = build.options;
  scale_ = options.attention_scale(build.layer);
  const Init normal{Init::Kind::normal, options.init_std};
  const std::string prefix = build.prefix + "attention.";
  const bool bias = options.bias || options.attention.qkv_bias;
  const auto add = [&](const char* name, int64_t out) {
    qkv_.push_back(build.parameters.add_linear(prefix + name, out, options.width, normal, bias));
  };
  if (build.parameters.packed_qkv()) {
    add("qkv", heads_.packed_width());
  } else {
    add("q", heads_.heads * heads_.head_dim);
    add("k", heads_.kv_heads * heads_.head_dim);
    add("v", heads_.kv_heads * heads_.head_dim);
  }
  if (options.attention.qk_norm) {
    query_norm_ = build.parameters.add(prefix + "q_norm.weight", {heads_.head_dim}, {Init::Kind::constant, 1});
    key_norm_ = build.parameters.add(prefix + "k_norm.weight", {heads_.head_dim}, {Init::Kind::constant, 1});
  }
  out_ = build.parameters.add_linear(prefix + "out", options.width, heads_.heads * heads_.head_dim,
                                     residual_init(options), options.bias || options.attention.out_bias);
}

std::optional<PlainAttention> Attention::plain_attention() const {
  const bool plain = qkv_.size() == 1 && qkv_[0].plain() && out_.plain() && !rotary_ && !query_norm_.defined() &&
                     window_ == 0 && scale_ == 1 / std::sqrt(static_cast<double>(heads_.head_dim));
  if (!plain) return std::nullopt;
  return PlainAttention{qkv_[0], out_, heads_};
}

std::vector<std::pair<std::string, ops::Weight*>> Attention::weights() {
  std::vector<std::pair<std::string, ops::Weight*>> all;
  if (qkv_.size() == 1) {
    all.emplace_back("attention.qkv", qkv_.data());
  } else {
    all = {{"attention.q", &qkv_[0]}, {"attention.k", &qkv_[1]}, {"attention.v", &qkv_[2]}};
  }
  all.emplace_back("attention.out", &out_);
  return all;
}

Tensor Attention::project(const MixerInput& input) const {
  // Rotary positions and norms are computed in fp32 on what the product gives.
  const ops::Keep keep = rotary_ || query_norm_.defined() ? ops::Keep::f32 : ops::Keep::for_products;
  if (qkv_.size() > 1 || !qkv_[0].plain() || input.step.ragged()) {
    return ops::linear_side_by_side(input.settings, input.x.normed, qkv_, keep);
  }
  return ops::project_qkv(input.settings, input.x.normed, qkv_[0].matrix, qkv_[0].bias, heads_, keep, input.reads);
}

Tensor Attention::forward(const MixerInput& input) const {
  Tensor qkv = project(input);
  if (query_norm_.defined()) {
    qkv = ops::norm_heads(input.settings, qkv, heads_, query_norm_, key_norm_, norm_epsilon_, input.reads);
  }
  if (rotary_) qkv = ops::rotary(input.settings, qkv, heads_, input.tables.rotary());
  const Tensor mixed = input.step.ragged() ? attend_cached(input, qkv)
                                           : ops::attention(input.settings, qkv, heads_,
                                                            {.causal = true,
                                                             .window = window_,
                                                             .scale = scale_,
                                                             .reads = input.reads,
                                                             .keep = ops::Keep::for_products});
  return ops::linear(input.settings, mixed, out_, input.x.residual);
}

Tensor Attention::attend_cached(const MixerInput& input, const Tensor& qkv) const {
  const int64_t stride = qkv.size(1);
  const int64_t width = heads_.heads * heads_.head_dim;
  Tensor out = torch::empty({qkv.size(0), width}, qkv.options());
  const float* queries = qkv.data_ptr<float>();
  float* mixed = out.data_ptr<float>();
  std::vector<cache::Attending> sequences;
  for (const SequenceSlice& slice : input.step.sequences) {
    cache::KvCache& cache = *slice.state->cache;
    const float* keys = queries + width;
    cache.append(cache_layer_, {keys, stride}, {keys + heads_.kv_heads * heads_.head_dim, stride}, slice.count);
    sequences.push_back(
        {.cache = &cache, .queries = {queries, stride}, .count = slice.count, .out = mixed, .out_stride = width});
    queries += slice.count * stride;
    mixed += slice.count * width;
  }
  cache::attend(cache_layer_, sequences, {.scale = static_cast<float>(scale_), .window = window_});
  return out;
}

std::unique_ptr<Mixer> make_attention(const MixerBuild& build) { return std::make_unique<Attention>(build); }

}  // namespace incontext::models
