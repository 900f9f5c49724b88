#include "base/error.h"
#include "models/families/config_parts.h"
#include "models/families/rows.h"

namespace incontext::models {
namespace {

constexpr const char* kOptDefaults = R"(
    {"vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "ffn_dim": 3072,
    "max_position_embeddings": 2048, "do_layer_norm_before": true, "_remove_final_layer_norm": false,
    "word_embed_proj_dim": null, "dropout": 0.1, "attention_dropout": 0.0, "num_attention_heads": 12,
    "activation_function": "relu", "layerdrop": 0.0, "init_std": 0.02, "use_cache": true,
    "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2, "enable_bias": true,
    "layer_norm_elementwise_affine": true, "tie_word_embeddings": true})";

void read_opt(const JsonFields& json, LanguageConfig& config) {
  DecoderOptions& options = config.options;
  options.width = json.integer("hidden_size");
  options.layers = json.integer("num_hidden_layers");
  options.attention.heads = json.integer("num_attention_heads");
  options.mlp.width = json.integer("ffn_dim");
  options.max_positions = json.integer("max_position_embeddings");
  options.tokens.vocabulary = json.integer("vocab_size");
  options.tokens.width = json.integer("word_embed_proj_dim", 0);
  options.tokens.tied_embeddings = json.boolean("tie_word_embeddings");
  options.norm.type = NormType::layer;
  options.norm.epsilon = 1e-5;
  const bool before = json.boolean("do_layer_norm_before");
  options.norm.place = before ? NormPlace::before : NormPlace::after;
  options.norm.final = before && !json.boolean("_remove_final_layer_norm");
  options.bias = json.boolean("enable_bias");
  options.mlp.type = mlp_of(json, json.text("activation_function"), /*gated=*/false);
  base::check(json.boolean("layer_norm_elementwise_affine"), "{}: 'layer_norm_elementwise_affine': expected true",
              json.where());
  config.context = options.max_positions;
}

}  // namespace

Family opt_family() {
  Family family;
  family.name = "opt";
  family.architecture = "OPTForCausalLM";
  family.defaults = base::Json::parse(kOptDefaults);
  family.read = read_opt;
  family.tensors = {{"model.decoder.embed_tokens", {"embedding"}},
                    // Its positions count from 2.
                    {"model.decoder.embed_positions", {"position"}, /*transposed=*/false, /*rows_before=*/2},
                    {"model.decoder.project_in", {"token_in"}},
                    {"model.decoder.project_out", {"token_out"}},
                    {"model.decoder.final_layer_norm", {"norm"}},
                    {"lm_head", {"head"}},
                    {"model.decoder.layers.N.self_attn_layer_norm", {"layers.N.norm1"}},
                    {"model.decoder.layers.N.final_layer_norm", {"layers.N.norm2"}},
                    {"model.decoder.layers.N.self_attn.q_proj", {"layers.N.attention.q"}},
                    {"model.decoder.layers.N.self_attn.k_proj", {"layers.N.attention.k"}},
                    {"model.decoder.layers.N.self_attn.v_proj", {"layers.N.attention.v"}},
                    {"model.decoder.layers.N.self_attn.out_proj", {"layers.N.attention.out"}},
                    {"model.decoder.layers.N.fc1", {"layers.N.mlp.up"}},
                    {"model.decoder.layers.N.fc2", {"layers.N.mlp.down"}}};
  return family;
}

}  // namespace incontext::models
