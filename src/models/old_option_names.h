#pragma once

#include <array>

#include "base/options.h"

namespace incontext::models {

/// The options of a decoder by the names that they had when all were in one flat struct. Runs and model folders of that
/// time are read by them.
inline constexpr auto kOldOptionNames = std::to_array<base::OldName>({
    {"norm", "norm.type"},  // first those that are groups now
    {"mlp", "mlp.type"},
    {"heads", "attention.heads"},
    {"kv_heads", "attention.kv_heads"},
    {"head_dim", "attention.head_dim"},
    {"qkv_bias", "attention.qkv_bias"},
    {"out_bias", "attention.out_bias"},
    {"qk_norm", "attention.qk_norm"},
    {"scale_scores", "attention.scale_scores"},
    {"scale_by_layer", "attention.scale_by_layer"},
    {"sliding_window", "attention.window.size"},
    {"sliding_from_layer", "attention.window.from_layer"},
    {"full_layers", "attention.window.full_layers"},
    {"rope_theta", "rope.theta"},
    {"rotary_fraction", "rope.fraction"},
    {"rope_scaling", "rope.scaling"},
    {"norm_epsilon", "norm.epsilon"},
    {"norm_place", "norm.place"},
    {"final_norm", "norm.final"},
    {"mlp_width", "mlp.width"},
    {"mlp_bias", "mlp.bias"},
    {"vocabulary", "tokens.vocabulary"},
    {"token_width", "tokens.width"},
    {"tied_embeddings", "tokens.tied_embeddings"},
});

}  // namespace incontext::models
