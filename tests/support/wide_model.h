#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "cache/kinds/lexico_dictionary.h"
#include "tensor/safetensors.h"

namespace incontext::testing {

/// A Llama of random weights: heads of 64, two query heads to a KV head, 2 layers, a context of 4096.
inline void write_wide_model(const std::filesystem::path& folder, int64_t vocabulary) {
  constexpr int64_t kWidth = 256, kKeys = 128, kHidden = 64;
  std::ofstream(folder / "config.json")
      << R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 64,
             "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu",
             "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
             "torch_dtype": "float32", "rope_theta": 10000.0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": )"
      << vocabulary << "}";
  torch::manual_seed(5);
  tensor::NamedTensors tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> sizes, double deviation) {
    tensors[name + ".weight"] = sizes.size() == 1 ? torch::ones(sizes) : torch::randn(sizes) * deviation;
  };
  add("model.embed_tokens", {vocabulary, kWidth}, 1);
  add("lm_head", {vocabulary, kWidth}, 0.2);
  add("model.norm", {kWidth}, 1);
  for (const std::string prefix : {"model.layers.0.", "model.layers.1."}) {
    add(prefix + "input_layernorm", {kWidth}, 1);
    add(prefix + "post_attention_layernorm", {kWidth}, 1);
    add(prefix + "self_attn.q_proj", {kWidth, kWidth}, 0.1);
    add(prefix + "self_attn.k_proj", {kKeys, kWidth}, 0.1);
    add(prefix + "self_attn.v_proj", {kKeys, kWidth}, 0.1);
    add(prefix + "self_attn.o_proj", {kWidth, kWidth}, 0.1);
    add(prefix + "mlp.gate_proj", {kHidden, kWidth}, 0.06);
    add(prefix + "mlp.up_proj", {kHidden, kWidth}, 0.06);
    add(prefix + "mlp.down_proj", {kWidth, kHidden}, 0.1);
  }
  tensor::write_safetensors(folder / "model.safetensors", tensors);
}

/// A dictionary of random atoms for a model of this fingerprint and shape.
inline void write_random_dictionary(const std::filesystem::path& path, const cache::CachedModel& model, int64_t atoms) {
  torch::manual_seed(6);
  cache::LexicoDictionary dictionary;
  dictionary.model = model.fingerprint;
  for (auto* parts : {&dictionary.keys, &dictionary.values}) {
    for (int64_t layer = 0; layer < model.shape.layers; ++layer) {
      const torch::Tensor rows = torch::randn({atoms, model.shape.head_dim});
      parts->push_back(
          {.atoms = (rows / rows.norm(2, 1, /*keepdim=*/true)).to(torch::kHalf), .mean = {}, .weights = {}});
    }
  }
  cache::write_lexico_dictionary(dictionary, path);
}

}  // namespace incontext::testing
