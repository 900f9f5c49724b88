#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/options.h"

namespace incontext::models {

/// A range of layers that is run again and again (looped transformers, Yang et al. 2024):
///   Y_{t+1} = norm(layers_{first…last-1}(inject(Y_t, P)))
/// with P what enters layer `first`, and Y_0 such that loop 1 sees P: 0 (add), 1 (multiply), P (none). When the range
/// ends at the last layer the norm is the model's final norm.
struct LoopOptions {
  int64_t count = 0;
  int64_t first_layer = 0;
  int64_t last_layer = 0;
  std::string injection = "add";

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("count", count, "how often the range runs; 0: the model is not looped", base::at_least(0));
    v.field("first_layer", first_layer, "first layer of the range", base::at_least(0));
    v.field("last_layer", last_layer, "one past its last layer; 0: all layers", base::at_least(0));
    v.field("injection", injection, "how the input enters each loop: Y + P, Y * P, or not at all",
            base::one_of({"add", "multiply", "none"}));
  }
};

/// How the frequencies of rotary positions are stretched beyond the context a model was first trained with.
/// The names and meanings are those of `rope_scaling` in Hugging Face's config.json.
struct RopeScalingOptions {
  std::string type = "none";
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  double beta_fast = 32;
  double beta_slow = 1;
  double attention_factor = 0;
  double mscale = 0;
  double mscale_all_dim = 0;
  bool truncate = true;
  int64_t original_max_positions = 0;
  std::vector<double> short_factor = {};
  std::vector<double> long_factor = {};

  template <class Visitor>
  void visit(Visitor& v) {
    v.field(
        "type", type,
        "none, linear (all frequencies), dynamic (all, by the sequence's length), llama3 and yarn (low ones), longrope "
        "(each its own factor)",
        base::one_of({"none", "linear", "dynamic", "llama3", "yarn", "longrope"}));
    v.field("factor", factor, "by how much the context grew", base::positive());
    v.field("low_freq_factor", low_freq_factor,
            "llama3: fewer turns than this in the first context are stretched whole", base::positive());
    v.field("high_freq_factor", high_freq_factor, "llama3: more turns than this are left alone", base::positive());
    v.field("beta_fast", beta_fast, "yarn: more turns than this in the first context are left alone", base::positive());
    v.field("beta_slow", beta_slow, "yarn: fewer turns than this are stretched whole", base::positive());
    v.field("attention_factor", attention_factor, "yarn, longrope: factor on cosine and sine; 0: from `factor`",
            base::at_least(0));
    v.field("mscale", mscale, "yarn: with mscale_all_dim, another attention_factor from `factor`; 0: the usual one",
            base::at_least(0));
    v.field("mscale_all_dim", mscale_all_dim, "yarn: see mscale", base::at_least(0));
    v.field("truncate", truncate, "yarn: the bounds of the passage are whole numbers of pairs");
    v.field("original_max_positions", original_max_positions, "tokens of the first context", base::at_least(0));
    v.field("short_factor", short_factor, "longrope: divisors of the frequencies up to the first context");
    v.field("long_factor", long_factor, "longrope: divisors of the frequencies beyond it");
  }
};

/// Everything that tells one decoder from another. The defaults are Garg et al.'s "standard" GPT-2; what begins with
/// `vocabulary` belongs to language models.
struct DecoderOptions {
  int64_t width = 256;
  int64_t layers = 12;
  int64_t heads = 8;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  std::string norm = "layer";
  double norm_epsilon = 1e-5;
  std::string position = "learned";
  int64_t max_positions = 256;
  double rope_theta = 10000;
  base::OneOrMore<std::string> mixers = {"attention"};
  base::OneOrMore<std::string> mlp = {"gelu"};
  int64_t mlp_width = 0;
  bool bias = true;
  double init_std = 0.02;
  LoopOptions loop;
  int64_t vocabulary = 0;
  std::string family = "";
  bool tied_embeddings = false;
  int64_t token_width = 0;
  std::string norm_place = "before";
  bool final_norm = true;
  bool qkv_bias = false;
  bool out_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;
  bool scale_scores = true;
  bool scale_by_layer = false;
  int64_t sliding_window = 0;
  int64_t sliding_from_layer = 0;
  std::vector<int64_t> full_layers = {};
  double rotary_fraction = 1;
  RopeScalingOptions rope_scaling;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("width", width, "size of the residual stream", base::at_least(1));
    v.field("layers", layers, "number of layers", base::at_least(0));
    v.field("heads", heads, "attention heads", base::at_least(1));
    v.field("kv_heads", kv_heads, "key and value heads; 0: as many as heads", base::at_least(0));
    v.field("head_dim", head_dim, "size of one head; 0: width / heads", base::at_least(0));
    v.field("norm", norm, "normalisation before each branch and at the end", base::one_of({"layer", "rms"}));
    v.field("norm_epsilon", norm_epsilon, "added to the variance", base::positive());
    v.field("position", position, "how tokens know their place", base::one_of({"learned", "rotary", "none"}));
    v.field("max_positions", max_positions, "rows of the learned position table, in tokens", base::at_least(1));
    v.field("rope_theta", rope_theta, "base of the rotary frequencies", base::positive());
    v.field("mixers", mixers, "the first branch of each layer, with its options; a list is repeated over the layers");
    v.field("mlp", mlp, "the second branch of each layer; gated is SwiGLU; a list is repeated over the layers",
            base::one_of({"gelu", "relu", "gated", "none"}));
    v.field("mlp_width", mlp_width, "hidden size of the MLP; 0: 4 * width", base::at_least(0));
    v.field("bias", bias, "biases in attention and MLP");
    v.field("init_std", init_std, "standard deviation of initial weights", base::positive());
    v.group("loop", loop, "the looped form");
    v.field("vocabulary", vocabulary, "number of tokens; 0: the model reads vectors", base::at_least(0));
    v.field(
        "family", family,
        "of a language model: the model_type of the folders that it is written as; empty: llama where that can hold "
        "it, else incontext");
    v.field("tied_embeddings", tied_embeddings, "the head is the transposed table of token embeddings");
    v.field("token_width", token_width, "size of a token's embedding when it is not `width`; 0: it is",
            base::at_least(0));
    v.field("norm_place", norm_place, "before each branch, or after its sum", base::one_of({"before", "after"}));
    v.field("final_norm", final_norm, "a norm before the head");
    v.field("qkv_bias", qkv_bias, "biases of queries, keys and values even where `bias` is false");
    v.field("out_bias", out_bias, "a bias after attention even where `bias` is false");
    v.field("mlp_bias", mlp_bias, "biases of the MLP even where `bias` is false");
    v.field("qk_norm", qk_norm, "RMS norm of every query and key head");
    v.field("sliding_window", sliding_window, "a token sees itself and this many less one before it; 0: all",
            base::at_least(0));
    v.field("sliding_from_layer", sliding_from_layer, "first layer with the sliding window", base::at_least(0));
    v.field("full_layers", full_layers, "layers without the sliding window, from there on", base::at_least(0));
    v.field("scale_scores", scale_scores, "scores are divided by the square root of head_dim");
    v.field("scale_by_layer", scale_by_layer, "scores of layer l (from 0) are divided by l + 1 too");
    v.field("rotary_fraction", rotary_fraction, "part of each head that rotary positions turn", base::between(0, 1));
    v.group("rope_scaling", rope_scaling, "rotary positions in contexts longer than the first");
  }

  std::string validate() const {
    if (mixers.empty()) return "mixers: expected at least one";
    if (mlp.empty()) return "mlp: expected at least one";
    if (head_dim == 0 && width % heads != 0) return fmt::format("width {} is not a multiple of heads {}", width, heads);
    if (heads % resolved_kv_heads() != 0) {
      return fmt::format("heads {} is not a multiple of kv_heads {}", heads, resolved_kv_heads());
    }
    if (position == "rotary" && resolved_head_dim() % 2 != 0) {
      return fmt::format("rotary positions need an even head_dim, got {}", resolved_head_dim());
    }
    if (loop.count > 0 && !(loop.first_layer < loop_end() && loop_end() <= layers)) {
      return fmt::format("loop: expected first_layer < last_layer <= {}, got {} and {}", layers, loop.first_layer,
                         loop.last_layer);
    }
    if (vocabulary > 0 && looped()) return "a looped model reads vectors: expected vocabulary 0";
    return rope_scaling_problem();
  }

  /// Of layer `layer`: its entry of `mixers` and of `mlp`.
  const std::string& mixer_of(int64_t layer) const { return repeated(mixers, layer); }
  const std::string& mlp_of(int64_t layer) const { return repeated(mlp, layer); }
  /// What scores of attention are multiplied by.
  double attention_scale(int64_t layer) const {
    double divisor = scale_by_layer ? static_cast<double>(layer + 1) : 1;
    if (scale_scores) divisor *= std::sqrt(static_cast<double>(resolved_head_dim()));
    return 1 / divisor;
  }
  bool looped() const { return loop.count > 0; }
  int64_t loop_end() const { return loop.last_layer == 0 ? layers : loop.last_layer; }
  int64_t resolved_kv_heads() const { return kv_heads == 0 ? heads : kv_heads; }
  int64_t resolved_head_dim() const { return head_dim == 0 ? width / heads : head_dim; }
  int64_t resolved_mlp_width() const { return mlp_width == 0 ? 4 * width : mlp_width; }
  int64_t resolved_token_width() const { return token_width == 0 ? width : token_width; }
  /// How many positions a token of this layer sees, itself included; 0: all.
  int64_t window_of(int64_t layer) const {
    const bool full =
        layer < sliding_from_layer || std::find(full_layers.begin(), full_layers.end(), layer) != full_layers.end();
    return full ? 0 : sliding_window;
  }
  /// Elements at the front of each head that rotary positions turn.
  int64_t rotary_dim() const {
    return 2 * static_cast<int64_t>(rotary_fraction * static_cast<double>(resolved_head_dim()) / 2 + 1e-9);
  }

 private:
  static const std::string& repeated(const std::vector<std::string>& pattern, int64_t layer) {
    return pattern[static_cast<size_t>(layer) % pattern.size()];
  }
  std::string rope_scaling_problem() const {
    const RopeScalingOptions& scaling = rope_scaling;
    if (scaling.type == "none" || scaling.type == "linear") return "";
    if (scaling.type == "dynamic") {
      return rotary_dim() > 2 ? ""
                              : fmt::format("rope_scaling dynamic needs more than 2 elements, got {}", rotary_dim());
    }
    if (scaling.original_max_positions == 0) {
      return fmt::format("rope_scaling {} needs original_max_positions", scaling.type);
    }
    if (scaling.type != "longrope") return "";
    const auto pairs = static_cast<size_t>(rotary_dim() / 2);
    if (scaling.short_factor.size() == pairs && scaling.long_factor.size() == pairs) return "";
    return fmt::format("longrope: expected {} short and long factors, got {} and {}", pairs,
                       scaling.short_factor.size(), scaling.long_factor.size());
  }
};

}  // namespace incontext::models
