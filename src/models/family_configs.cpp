#include "models/family_configs.h"

#include <map>

#include "base/error.h"

namespace incontext::models {
namespace {

void check_activation(const JsonFields& json, const std::string& activation, const std::string& expected) {
  base::check(activation == expected,
              "{}: expected the activation '{}', got '{}', which this family has not in our "
              "decoder",
              json.where(), expected, activation);
}

// `rope_scaling` with "type" or "rope_type", or the newer `rope_parameters`, which holds the base too.
void read_rope(const JsonFields& json, DecoderOptions& options) {
  options.position = "rotary";
  options.rope_theta = json.number("rope_theta", 10000);
  options.rotary_fraction = json.number("partial_rotary_factor", 1);
  std::optional<JsonFields> found = json.object("rope_parameters");
  if (!found) found = json.object("rope_scaling");
  if (!found) return;
  const JsonFields& rope = *found;
  options.rope_theta = rope.number("rope_theta", options.rope_theta);
  options.rotary_fraction = rope.number("partial_rotary_factor", options.rotary_fraction);
  RopeScalingOptions& scaling = options.rope_scaling;
  std::string type = rope.text("rope_type", rope.text("type", "default"));
  if (type == "default" || type == "none") return;
  if (type == "su") type = "longrope";  // its first name
  base::check(type == "linear" || type == "llama3" || type == "yarn" || type == "longrope",
              "{}: rope type '{}': expected default, linear, llama3, yarn or longrope", rope.where(), type);
  scaling.type = type;
  scaling.factor = rope.number("factor", 1);
  scaling.low_freq_factor = rope.number("low_freq_factor", 1);
  scaling.high_freq_factor = rope.number("high_freq_factor", 4);
  scaling.beta_fast = rope.number("beta_fast", 32);
  scaling.beta_slow = rope.number("beta_slow", 1);
  scaling.attention_factor = rope.number("attention_factor", 0);
  const int64_t first_context = json.integer("original_max_position_embeddings", options.max_positions);
  scaling.original_max_positions = rope.integer("original_max_position_embeddings", first_context);
  scaling.short_factor = rope.numbers("short_factor");
  scaling.long_factor = rope.numbers("long_factor");
  if (type == "longrope" && !rope.has("factor")) {
    scaling.factor = static_cast<double>(options.max_positions) / static_cast<double>(scaling.original_max_positions);
  }
}

// What Llama and its kin share.
void read_llama(const JsonFields& json, LanguageConfig& config) {
  DecoderOptions& options = config.options;
  options.width = json.integer("hidden_size");
  options.layers = json.integer("num_hidden_layers");
  options.heads = json.integer("num_attention_heads");
  options.kv_heads = json.integer("num_key_value_heads", options.heads);
  options.head_dim = json.integer("head_dim", 0);
  options.mlp_width = json.integer("intermediate_size");
  options.max_positions = json.integer("max_position_embeddings", 2048);
  options.vocabulary = json.integer("vocab_size");
  options.tied_embeddings = json.boolean("tie_word_embeddings", false);
  options.norm = "rms";
  options.norm_epsilon = json.number("rms_norm_eps", 1e-6);
  options.mlp = "gated";
  options.bias = false;
  options.qkv_bias = options.out_bias = json.boolean("attention_bias", false);
  options.mlp_bias = json.boolean("mlp_bias", false);
  check_activation(json, json.text("hidden_act", "silu"), "silu");
  config.context = options.max_positions;
  read_rope(json, options);
}

void read_mistral(const JsonFields& json, LanguageConfig& config) {
  read_llama(json, config);
  config.options.sliding_window = json.integer("sliding_window", 0);
}

void read_qwen(const JsonFields& json, LanguageConfig& config) {
  read_llama(json, config);
  DecoderOptions& options = config.options;
  if (!json.boolean("use_sliding_window", false)) return;
  options.sliding_window = json.integer("sliding_window", 0);
  options.sliding_from_layer = json.integer("max_window_layers", 0);
}

void read_qwen2(const JsonFields& json, LanguageConfig& config) {
  read_qwen(json, config);
  config.options.qkv_bias = true;  // though no field says so
}

void read_qwen3(const JsonFields& json, LanguageConfig& config) {
  read_qwen(json, config);
  config.options.qk_norm = true;
}

void read_opt(const JsonFields& json, LanguageConfig& config) {
  DecoderOptions& options = config.options;
  options.width = json.integer("hidden_size");
  options.layers = json.integer("num_hidden_layers");
  options.heads = json.integer("num_attention_heads");
  options.mlp_width = json.integer("ffn_dim");
  options.max_positions = json.integer("max_position_embeddings", 2048);
  options.vocabulary = json.integer("vocab_size");
  options.token_width = json.integer("word_embed_proj_dim", 0);
  options.tied_embeddings = json.boolean("tie_word_embeddings", true);
  options.norm = "layer";
  options.norm_epsilon = 1e-5;
  const bool before = json.boolean("do_layer_norm_before", true);
  options.norm_place = before ? "before" : "after";
  options.final_norm = before && !json.boolean("_remove_final_layer_norm", false);
  options.bias = json.boolean("enable_bias", true);
  options.mlp = "relu";
  check_activation(json, json.text("activation_function", "relu"), "relu");
  config.context = options.max_positions;
}

void read_gpt2(const JsonFields& json, LanguageConfig& config) {
  DecoderOptions& options = config.options;
  options.width = json.integer("n_embd");
  options.layers = json.integer("n_layer");
  options.heads = json.integer("n_head");
  options.mlp_width = json.integer("n_inner", 0);
  options.max_positions = json.integer("n_positions", 1024);
  options.vocabulary = json.integer("vocab_size");
  options.tied_embeddings = json.boolean("tie_word_embeddings", true);
  options.norm = "layer";
  options.norm_epsilon = json.number("layer_norm_epsilon", 1e-5);
  options.scale_by_layer = json.boolean("scale_attn_by_inverse_layer_idx", false);
  options.mlp = "gelu";
  const std::string activation = json.text("activation_function", "gelu_new");
  if (activation != "gelu_pytorch_tanh") check_activation(json, activation, "gelu_new");
  config.context = options.max_positions;
}

}  // namespace

const std::map<std::string, ReadConfig>& readers() {
  static const std::map<std::string, ReadConfig> table = {
      {"llama", read_llama},  {"mistral", read_mistral}, {"qwen2", read_qwen2}, {"qwen3", read_qwen3},
      {"phi3", read_mistral}, {"opt", read_opt},         {"gpt2", read_gpt2}};
  return table;
}

ReadConfig config_reader(const std::string& model_type) {
  const auto found = readers().find(model_type);
  return found == readers().end() ? nullptr : found->second;
}

std::vector<std::string> language_families() {
  std::vector<std::string> names;
  for (const auto& [name, reader] : readers()) names.push_back(name);
  return names;
}

}  // namespace incontext::models
