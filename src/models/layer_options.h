#pragma once

#include <algorithm>
#include <vector>

#include "base/options.h"

// The groups of DecoderOptions that say what one layer is made of.

namespace incontext::models {

/// Which positions a token sees.
struct WindowOptions {
  int64_t size = 0;
  int64_t from_layer = 0;
  std::vector<int64_t> full_layers = {};

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("size", size, "a token sees itself and this many less one before it; 0: all", base::at_least(0));
    v.field("from_layer", from_layer, "first layer with the window", base::at_least(0));
    v.field("full_layers", full_layers, "layers without the window, from there on", base::at_least(0));
  }

  /// How many positions a token of this layer sees, itself included; 0: all.
  int64_t of_layer(int64_t layer) const {
    const bool full =
        layer < from_layer || std::find(full_layers.begin(), full_layers.end(), layer) != full_layers.end();
    return full ? 0 : size;
  }
};

struct AttentionOptions {
  int64_t heads = 8;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  bool qkv_bias = false;
  bool out_bias = false;
  bool qk_norm = false;
  bool scale_scores = true;
  bool scale_by_layer = false;
  WindowOptions window;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("heads", heads, "attention heads", base::at_least(1));
    v.field("kv_heads", kv_heads, "key and value heads; 0: as many as heads", base::at_least(0));
    v.field("head_dim", head_dim, "size of one head; 0: model.width / heads", base::at_least(0));
    v.field("qkv_bias", qkv_bias, "biases of queries, keys and values even where model.bias is false");
    v.field("out_bias", out_bias, "a bias after attention even where model.bias is false");
    v.field("qk_norm", qk_norm, "RMS norm of every query and key head");
    v.field("scale_scores", scale_scores, "scores are divided by the square root of head_dim");
    v.field("scale_by_layer", scale_by_layer, "scores of layer l (from 0) are divided by l + 1 too");
    v.group("window", window, "a sliding window");
  }
};

enum class NormType { layer, rms };
constexpr auto names_of(NormType) {
  using enum NormType;
  return std::to_array<base::EnumName<NormType>>({{layer, "layer"}, {rms, "rms"}});
}

enum class NormPlace { before, after };
constexpr auto names_of(NormPlace) {
  using enum NormPlace;
  return std::to_array<base::EnumName<NormPlace>>({{before, "before"}, {after, "after"}});
}

struct NormOptions {
  NormType type = NormType::layer;
  double epsilon = 1e-5;
  NormPlace place = NormPlace::before;
  bool final = true;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("type", type, "normalisation at each branch and at the end");
    v.field("epsilon", epsilon, "added to the variance", base::positive());
    v.field("place", place, "before each branch, or after its sum");
    v.field("final", final, "a norm before the head");
  }
};

enum class MlpType { gelu, relu, gated, none };
constexpr auto names_of(MlpType) {
  using enum MlpType;
  return std::to_array<base::EnumName<MlpType>>({{gelu, "gelu"}, {relu, "relu"}, {gated, "gated"}, {none, "none"}});
}

struct MlpOptions {
  base::OneOrMore<MlpType> type = {MlpType::gelu};
  int64_t width = 0;
  bool bias = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("type", type, "the second branch of each layer; gated is SwiGLU; a list is repeated over the layers");
    v.field("width", width, "hidden size; 0: 4 * model.width", base::at_least(0));
    v.field("bias", bias, "biases even where model.bias is false");
  }
};

}  // namespace incontext::models
