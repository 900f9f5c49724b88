#include "base/error.h"
#include "models/families/config_parts.h"
#include "models/families/rows.h"

namespace incontext::models {
namespace {

constexpr const char* kGpt2Defaults = R"(
    {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": null,
    "activation_function": "gelu_new", "resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1,
    "layer_norm_epsilon": 1e-05, "initializer_range": 0.02, "summary_type": "cls_index",
    "summary_use_proj": true, "summary_activation": null, "summary_proj_to_labels": true,
    "summary_first_dropout": 0.1, "scale_attn_weights": true, "use_cache": true, "bos_token_id": 50256,
    "eos_token_id": 50256, "pad_token_id": null, "scale_attn_by_inverse_layer_idx": false,
    "reorder_and_upcast_attn": false, "add_cross_attention": false, "tie_word_embeddings": true})";

void read_gpt2(const JsonFields& json, LanguageConfig& config) {
  DecoderOptions& options = config.options;
  options.width = json.integer("n_embd");
  options.layers = json.integer("n_layer");
  options.attention.heads = json.integer("n_head");
  options.mlp.width = json.integer("n_inner", 0);
  options.max_positions = json.integer("n_positions");
  options.tokens.vocabulary = json.integer("vocab_size");
  options.tokens.tied_embeddings = json.boolean("tie_word_embeddings");
  options.norm.type = NormType::layer;
  options.norm.epsilon = json.number("layer_norm_epsilon");
  options.attention.scale_by_layer = json.boolean("scale_attn_by_inverse_layer_idx");
  options.attention.scale_scores = json.boolean("scale_attn_weights");
  options.mlp.type = mlp_of(json, json.text("activation_function"), /*gated=*/false);
  base::check(!json.boolean("add_cross_attention"), "{}: 'add_cross_attention': expected false", json.where());
  config.context = options.max_positions;
}

}  // namespace

Family gpt2_family() {
  Family family;
  family.name = "gpt2";
  family.architecture = "GPT2LMHeadModel";
  family.defaults = base::Json::parse(kGpt2Defaults);
  family.aliases = {{"hidden_size", "n_embd"},
                    {"max_position_embeddings", "n_positions"},
                    {"num_attention_heads", "n_head"},
                    {"num_hidden_layers", "n_layer"}};
  family.read = read_gpt2;
  family.tensors = {{"transformer.wte", {"embedding"}},
                    {"transformer.wpe", {"position"}},
                    {"transformer.ln_f", {"norm"}},
                    {"lm_head", {"head"}},
                    {"transformer.h.N.ln_1", {"layers.N.norm1"}},
                    {"transformer.h.N.ln_2", {"layers.N.norm2"}},
                    {"transformer.h.N.attn.c_attn",
                     {"layers.N.attention.q", "layers.N.attention.k", "layers.N.attention.v"},
                     /*transposed=*/true},
                    {"transformer.h.N.attn.c_proj", {"layers.N.attention.out"}, /*transposed=*/true},
                    {"transformer.h.N.mlp.c_fc", {"layers.N.mlp.up"}, /*transposed=*/true},
                    {"transformer.h.N.mlp.c_proj", {"layers.N.mlp.down"}, /*transposed=*/true}};
  return family;
}

}  // namespace incontext::models
