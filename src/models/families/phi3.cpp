#include "models/families/config_parts.h"
#include "models/families/rows.h"

namespace incontext::models {
namespace {

constexpr const char* kPhi3Defaults = R"(
    {"vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": null, "resid_pdrop": 0.0, "embd_pdrop": 0.0,
    "attention_dropout": 0.0, "hidden_act": "silu", "max_position_embeddings": 4096,
    "original_max_position_embeddings": 4096, "initializer_range": 0.02, "rms_norm_eps": 1e-05,
    "use_cache": true, "tie_word_embeddings": false, "rope_parameters": null, "bos_token_id": 1,
    "eos_token_id": 32000, "pad_token_id": 32000, "sliding_window": null})";

void read_phi3(const JsonFields& json, LanguageConfig& config) {
  read_llama_like(json, config);
  read_windows(json, window_of(json), config.options);
}

}  // namespace

Family phi3_family() {
  Family family;
  family.name = "phi3";
  family.architecture = "Phi3ForCausalLM";
  family.defaults = base::Json::parse(kPhi3Defaults);
  family.obeyed = obeyed_by_llama_like();
  family.neutral = {{"use_sliding_window", {true}}};
  family.read = read_phi3;
  // Queries, keys and values are one matrix in its files, and so are gate and up.
  for (TensorRule& rule : family.tensors = llama_like_tensors()) {
    if (rule.theirs.ends_with(".q_proj")) {
      rule = {"model.layers.N.self_attn.qkv_proj",
              {"layers.N.attention.q", "layers.N.attention.k", "layers.N.attention.v"}};
    } else if (rule.theirs.ends_with(".gate_proj")) {
      rule = {"model.layers.N.mlp.gate_up_proj", {"layers.N.mlp.gate", "layers.N.mlp.up"}};
    }
  }
  std::erase_if(family.tensors, [](const TensorRule& rule) {
    return rule.theirs.ends_with(".k_proj") || rule.theirs.ends_with(".v_proj") || rule.theirs.ends_with(".up_proj");
  });
  return family;
}

}  // namespace incontext::models
