#pragma once

#include "models/layers/mixer.h"

namespace incontext::models {

/// Softmax attention with grouped queries, rotary positions of every kind, windows, and query and key norms.
/// Parameters: "attention.qkv", or "attention.q", "attention.k" and "attention.v"; "attention.q_norm",
/// "attention.k_norm"; "attention.out".
class Attention : public Mixer {
 public:
  explicit Attention(const MixerBuild& build);

  torch::Tensor forward(const MixerInput& input) const override;
  bool uses_cache() const override { return true; }
  std::optional<PlainAttention> plain_attention() const override;
  std::vector<std::pair<std::string, ops::Weight*>> weights() override;

 private:
  torch::Tensor project(const MixerInput& input) const;
  torch::Tensor attend_cached(const MixerInput& input, const torch::Tensor& qkv) const;

  ops::AttentionHeads heads_;
  int64_t cache_layer_ = 0;
  int64_t window_ = 0;  // each token attends to this many positions, itself included; 0: all
  double scale_ = 1;    // of scores
  bool rotary_ = false;
  double norm_epsilon_ = 0;
  std::vector<ops::Weight> qkv_;         // one packed, or three
  torch::Tensor query_norm_, key_norm_;  // [head_dim], or undefined
  ops::Weight out_;
};

std::unique_ptr<Mixer> make_attention(const MixerBuild& build);

}  // namespace incontext::models
