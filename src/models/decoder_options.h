#pragma once

#include <string>

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

/// Everything that tells one decoder from another. The defaults are Garg et al.'s "standard" GPT-2.
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
  std::string mlp = "gelu";
  int64_t mlp_width = 0;
  bool bias = true;
  double init_std = 0.02;
  LoopOptions loop;

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
    v.field("mlp", mlp, "the second branch of each layer; gated is SwiGLU",
            base::one_of({"gelu", "relu", "gated", "none"}));
    v.field("mlp_width", mlp_width, "hidden size of the MLP; 0: 4 * width", base::at_least(0));
    v.field("bias", bias, "biases in attention and MLP");
    v.field("init_std", init_std, "standard deviation of initial weights", base::positive());
    v.group("loop", loop, "the looped form");
  }

  std::string validate() const {
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
    return "";
  }

  bool looped() const { return loop.count > 0; }
  int64_t loop_end() const { return loop.last_layer == 0 ? layers : loop.last_layer; }
  int64_t resolved_kv_heads() const { return kv_heads == 0 ? heads : kv_heads; }
  int64_t resolved_head_dim() const { return head_dim == 0 ? width / heads : head_dim; }
  int64_t resolved_mlp_width() const { return mlp_width == 0 ? 4 * width : mlp_width; }
};

}  // namespace incontext::models
