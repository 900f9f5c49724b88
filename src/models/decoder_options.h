#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "base/options.h"
#include "models/layer_options.h"
#include "models/old_option_names.h"
#include "models/rope_options.h"

namespace incontext::models {

enum class PositionType { learned, rotary, none };
constexpr auto names_of(PositionType) {
  using enum PositionType;
  return std::to_array<base::EnumName<PositionType>>({{learned, "learned"}, {rotary, "rotary"}, {none, "none"}});
}

enum class Injection { add, multiply, none };
constexpr auto names_of(Injection) {
  using enum Injection;
  return std::to_array<base::EnumName<Injection>>({{add, "add"}, {multiply, "multiply"}, {none, "none"}});
}

/// A range of layers that is run again and again (looped transformers, Yang et al. 2024):
///   Y_{t+1} = norm(layers_{first…last-1}(inject(Y_t, P)))
/// with P what enters layer `first`, and Y_0 such that loop 1 sees P: 0 (add), 1 (multiply), P (none). When the range
/// ends at the last layer the norm is the model's final norm.
struct LoopOptions {
  int64_t count = 0;
  int64_t first_layer = 0;
  int64_t last_layer = 0;
  Injection injection = Injection::add;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("count", count, "how often the range runs; 0: the model is not looped", base::at_least(0));
    v.field("first_layer", first_layer, "first layer of the range", base::at_least(0));
    v.field("last_layer", last_layer, "one past its last layer; 0: all layers", base::at_least(0));
    v.field("injection", injection, "how the input enters each loop: Y + P, Y * P, or not at all");
  }
};

/// What a language model has and a model that reads vectors has not.
struct TokenOptions {
  int64_t vocabulary = 0;
  int64_t width = 0;
  bool tied_embeddings = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("vocabulary", vocabulary, "number of tokens; 0: the model reads vectors", base::at_least(0));
    v.field("width", width, "size of a token's embedding; 0: model.width", base::at_least(0));
    v.field("tied_embeddings", tied_embeddings, "the head is the transposed table of token embeddings");
  }
};

/// Everything that tells one decoder from another. The defaults are Garg et al.'s "standard" GPT-2.
struct DecoderOptions {
  int64_t width = 256;
  int64_t layers = 12;
  PositionType position = PositionType::learned;
  int64_t max_positions = 256;
  base::OneOrMore<std::string> mixers = {"attention"};
  bool bias = true;
  double init_std = 0.02;
  AttentionOptions attention;
  RopeOptions rope;
  NormOptions norm;
  MlpOptions mlp;
  LoopOptions loop;
  TokenOptions tokens;
  std::string family = "";

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("width", width, "size of the residual stream", base::at_least(1));
    v.field("layers", layers, "number of layers", base::at_least(0));
    v.field("position", position, "how tokens know their place");
    v.field("max_positions", max_positions, "rows of the learned position table, in tokens", base::at_least(1));
    v.field("mixers", mixers, "the first branch of each layer, with its options; a list is repeated over the layers");
    v.field("bias", bias, "biases in attention and MLP");
    v.field("init_std", init_std, "standard deviation of initial weights", base::positive());
    v.group("attention", attention, "the mixer of most models");
    v.group("rope", rope, "rotary positions");
    v.group("norm", norm, "normalisation");
    v.group("mlp", mlp, "the second branch");
    v.group("loop", loop, "the looped form");
    v.group("tokens", tokens, "of a language model");
    v.field(
        "family", family,
        "of a language model: the model_type of the folders that it is written as; empty: llama where that can hold "
        "it, else incontext");
  }
  static std::span<const base::OldName> old_names() { return kOldOptionNames; }

  std::string validate() const {
    if (mixers.empty()) return "mixers: expected at least one";
    if (mlp.type.empty()) return "mlp.type: expected at least one";
    if (attention.head_dim == 0 && width % attention.heads != 0) {
      return fmt::format("width {} is not a multiple of attention.heads {}", width, attention.heads);
    }
    if (attention.heads % resolved_kv_heads() != 0) {
      return fmt::format("attention.heads {} is not a multiple of attention.kv_heads {}", attention.heads,
                         resolved_kv_heads());
    }
    if (position == PositionType::rotary && resolved_head_dim() % 2 != 0) {
      return fmt::format("rotary positions need an even attention.head_dim, got {}", resolved_head_dim());
    }
    if (loop.count > 0 && !(loop.first_layer < loop_end() && loop_end() <= layers)) {
      return fmt::format("loop: expected first_layer < last_layer <= {}, got {} and {}", layers, loop.first_layer,
                         loop.last_layer);
    }
    if (tokens.vocabulary > 0 && looped()) return "a looped model reads vectors: expected tokens.vocabulary 0";
    return rope_scaling_problem();
  }

  /// Of layer `layer`: its entry of `mixers` and of `mlp.type`.
  const std::string& mixer_of(int64_t layer) const { return repeated(mixers, layer); }
  MlpType mlp_of(int64_t layer) const { return repeated(mlp.type, layer); }
  /// What scores of attention are multiplied by.
  double attention_scale(int64_t layer) const {
    double divisor = attention.scale_by_layer ? static_cast<double>(layer + 1) : 1;
    if (attention.scale_scores) divisor *= std::sqrt(static_cast<double>(resolved_head_dim()));
    return 1 / divisor;
  }
  bool looped() const { return loop.count > 0; }
  int64_t loop_end() const { return loop.last_layer == 0 ? layers : loop.last_layer; }
  int64_t resolved_kv_heads() const { return attention.kv_heads == 0 ? attention.heads : attention.kv_heads; }
  int64_t resolved_head_dim() const { return attention.head_dim == 0 ? width / attention.heads : attention.head_dim; }
  int64_t resolved_mlp_width() const { return mlp.width == 0 ? 4 * width : mlp.width; }
  int64_t resolved_token_width() const { return tokens.width == 0 ? width : tokens.width; }
  /// Elements at the front of each head that rotary positions turn.
  int64_t rotary_dim() const {
    return 2 * static_cast<int64_t>(rope.fraction * static_cast<double>(resolved_head_dim()) / 2 + 1e-9);
  }

 private:
  template <class T>
  static const T& repeated(const std::vector<T>& pattern, int64_t layer) {
    return pattern[static_cast<size_t>(layer) % pattern.size()];
  }
  std::string rope_scaling_problem() const {
    using enum RopeScalingType;
    const RopeScalingOptions& scaling = rope.scaling;
    if (scaling.type == none || scaling.type == linear) return "";
    if (scaling.type == dynamic) {
      return rotary_dim() > 2 ? ""
                              : fmt::format("rope.scaling dynamic needs more than 2 elements, got {}", rotary_dim());
    }
    if (scaling.original_max_positions == 0) {
      return fmt::format("rope.scaling {} needs original_max_positions", base::name_of(scaling.type));
    }
    if (scaling.type != longrope) return "";
    const auto pairs = static_cast<size_t>(rotary_dim() / 2);
    if (scaling.short_factor.size() == pairs && scaling.long_factor.size() == pairs) return "";
    return fmt::format("longrope: expected {} short and long factors, got {} and {}", pairs,
                       scaling.short_factor.size(), scaling.long_factor.size());
  }
};

}  // namespace incontext::models
