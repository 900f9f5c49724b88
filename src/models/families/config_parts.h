#pragma once

#include "models/families/family.h"

// What the readers of several families share.

namespace incontext::models {

/// The entry of model.mlp.type that computes a family's activation; with `gated`, as part of a gate. An unknown
/// activation is an Error that lists the known ones.
MlpType mlp_of(const JsonFields& json, const std::string& activation, bool gated);

/// "sliding_window"; null: 0.
int64_t window_of(const JsonFields& json);

/// Layers of which only some slide ("layer_types"). `window` is the family's; 0: none.
void read_windows(const JsonFields& json, int64_t window, DecoderOptions& options);

/// What Llama and its kin share: sizes, RMS norms, SwiGLU, rotary positions with their scalings.
void read_llama_like(const JsonFields& json, LanguageConfig& config);

/// The same with the windows of Qwen 2 and 3.
void read_qwen(const JsonFields& json, LanguageConfig& config);

/// Where Llama and its kin keep their tensors.
std::vector<TensorRule> llama_like_tensors();

/// What their readers obey beside the fields of the config classes.
std::set<std::string> obeyed_by_llama_like();

}  // namespace incontext::models
