#include "models/families/config_parts.h"
#include "models/families/rows.h"

namespace incontext::models {
namespace {

constexpr const char* kQwen2Defaults = R"(
    {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "silu",
    "max_position_embeddings": 32768, "initializer_range": 0.02, "rms_norm_eps": 1e-06, "use_cache": true,
    "tie_word_embeddings": false, "rope_parameters": null, "use_sliding_window": false,
    "sliding_window": 4096, "max_window_layers": 28, "layer_types": null, "attention_dropout": 0.0,
    "pad_token_id": null, "bos_token_id": null, "eos_token_id": null})";

void read_qwen2(const JsonFields& json, LanguageConfig& config) {
  read_qwen(json, config);
  config.options.attention.qkv_bias = true;  // though no field says so
}

}  // namespace

Family qwen2_family() {
  Family family;
  family.name = "qwen2";
  family.architecture = "Qwen2ForCausalLM";
  family.defaults = base::Json::parse(kQwen2Defaults);
  family.obeyed = obeyed_by_llama_like();
  // Its queries, keys and values have biases anyway.
  family.neutral = {{"attention_bias", {false, true}}};
  family.read = read_qwen2;
  family.tensors = llama_like_tensors();
  return family;
}

}  // namespace incontext::models
