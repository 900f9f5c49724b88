#include "models/families/config_parts.h"
#include "models/families/rows.h"

namespace incontext::models {
namespace {

constexpr const char* kQwen3Defaults = R"(
    {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "hidden_act": "silu",
    "max_position_embeddings": 32768, "initializer_range": 0.02, "rms_norm_eps": 1e-06, "use_cache": true,
    "tie_word_embeddings": false, "rope_parameters": null, "attention_bias": false,
    "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28, "layer_types": null,
    "attention_dropout": 0.0, "pad_token_id": null, "bos_token_id": null, "eos_token_id": null})";

void read_qwen3(const JsonFields& json, LanguageConfig& config) {
  read_qwen(json, config);
  config.options.attention.qk_norm = true;
  config.options.attention.qkv_bias = config.options.attention.out_bias = json.boolean("attention_bias");
}

}  // namespace

Family qwen3_family() {
  Family family;
  family.name = "qwen3";
  family.architecture = "Qwen3ForCausalLM";
  family.defaults = base::Json::parse(kQwen3Defaults);
  family.obeyed = obeyed_by_llama_like();
  family.neutral = {{"use_qk_norm", {true}}};
  family.read = read_qwen3;
  family.tensors = llama_like_tensors();
  return family;
}

}  // namespace incontext::models
