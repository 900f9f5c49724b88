#include "models/families/config_parts.h"
#include "models/families/rows.h"

namespace incontext::models {
namespace {

constexpr const char* kMistralDefaults = R"(
    {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": null, "hidden_act": "silu",
    "max_position_embeddings": 131072, "initializer_range": 0.02, "rms_norm_eps": 1e-06, "use_cache": true,
    "pad_token_id": null, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": false,
    "rope_parameters": null, "sliding_window": 4096, "attention_dropout": 0.0})";

void read_mistral(const JsonFields& json, LanguageConfig& config) {
  read_llama_like(json, config);
  read_windows(json, window_of(json), config.options);
}

}  // namespace

Family mistral_family() {
  Family family;
  family.name = "mistral";
  family.architecture = "MistralForCausalLM";
  family.defaults = base::Json::parse(kMistralDefaults);
  family.obeyed = obeyed_by_llama_like();
  family.neutral = {{"use_sliding_window", {true}}};
  family.read = read_mistral;
  family.tensors = llama_like_tensors();
  return family;
}

}  // namespace incontext::models
