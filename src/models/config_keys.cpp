#include "models/config_keys.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/text.h"

namespace incontext::models {
namespace {

using base::Json;

constexpr const char* kDefaults = R"({
  "gpt2": {
    "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": null,
    "activation_function": "gelu_new", "resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1,
    "layer_norm_epsilon": 1e-05, "initializer_range": 0.02, "summary_type": "cls_index", "summary_use_proj": true,
    "summary_activation": null, "summary_proj_to_labels": true, "summary_first_dropout": 0.1, "scale_attn_weights":
    true, "use_cache": true, "bos_token_id": 50256, "eos_token_id": 50256, "pad_token_id": null,
    "scale_attn_by_inverse_layer_idx": false, "reorder_and_upcast_attn": false, "add_cross_attention": false,
    "tie_word_embeddings": true},
  "llama": {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": null, "hidden_act": "silu", "max_position_embeddings": 2048,
    "initializer_range": 0.02, "rms_norm_eps": 1e-06, "use_cache": true, "pad_token_id": null, "bos_token_id": 1,
    "eos_token_id": 2, "pretraining_tp": 1, "tie_word_embeddings": false, "rope_parameters": null, "attention_bias":
    false, "attention_dropout": 0.0, "mlp_bias": false, "head_dim": null},
  "mistral": {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": null, "hidden_act": "silu",
    "max_position_embeddings": 131072, "initializer_range": 0.02, "rms_norm_eps": 1e-06, "use_cache": true,
    "pad_token_id": null, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": false, "rope_parameters":
    null, "sliding_window": 4096, "attention_dropout": 0.0},
  "opt": {
    "vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "ffn_dim": 3072, "max_position_embeddings":
    2048, "do_layer_norm_before": true, "_remove_final_layer_norm": false, "word_embed_proj_dim": null, "dropout":
    0.1, "attention_dropout": 0.0, "num_attention_heads": 12, "activation_function": "relu", "layerdrop": 0.0,
    "init_std": 0.02, "use_cache": true, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2, "enable_bias":
    true, "layer_norm_elementwise_affine": true, "tie_word_embeddings": true},
  "phi3": {
    "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": null, "resid_pdrop": 0.0, "embd_pdrop": 0.0,
    "attention_dropout": 0.0, "hidden_act": "silu", "max_position_embeddings": 4096,
    "original_max_position_embeddings": 4096, "initializer_range": 0.02, "rms_norm_eps": 1e-05, "use_cache": true,
    "tie_word_embeddings": false, "rope_parameters": null, "bos_token_id": 1, "eos_token_id": 32000, "pad_token_id":
    32000, "sliding_window": null},
  "qwen2": {
    "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "silu", "max_position_embeddings": 32768,
    "initializer_range": 0.02, "rms_norm_eps": 1e-06, "use_cache": true, "tie_word_embeddings": false,
    "rope_parameters": null, "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28,
    "layer_types": null, "attention_dropout": 0.0, "pad_token_id": null, "bos_token_id": null, "eos_token_id": null},
  "qwen3": {
    "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "hidden_act": "silu",
    "max_position_embeddings": 32768, "initializer_range": 0.02, "rms_norm_eps": 1e-06, "use_cache": true,
    "tie_word_embeddings": false, "rope_parameters": null, "attention_bias": false, "use_sliding_window": false,
    "sliding_window": 4096, "max_window_layers": 28, "layer_types": null, "attention_dropout": 0.0, "pad_token_id":
    null, "bos_token_id": null, "eos_token_id": null}
})";

// Other names that transformers takes for a family's fields.
const std::map<std::string, std::map<std::string, std::string>>& aliases() {
  static const std::map<std::string, std::map<std::string, std::string>> table = {
      {"gpt2",
       {{"hidden_size", "n_embd"},
        {"max_position_embeddings", "n_positions"},
        {"num_attention_heads", "n_head"},
        {"num_hidden_layers", "n_layer"}}}};
  return table;
}

bool is_llama_like(const std::string& model_type) { return model_type != "opt" && model_type != "gpt2"; }

// What the readers of Llama and its kin obey beside the fields of the config classes.
const std::set<std::string>& obeyed_by_llama_like() {
  static const std::set<std::string> keys = {"head_dim",        "layer_types",
                                             "rope_theta",      "rope_scaling",
                                             "rope_parameters", "original_max_position_embeddings",
                                             "sliding_window",  "partial_rotary_factor"};
  return keys;
}

// What says nothing of what a trained causal model computes: where it comes from, how it was trained, how fast or in
// which type it is run, what its answers hold, how text is drawn from it (which generation_config.json tells).
const std::set<std::string>& harmless() {
  static const std::set<std::string> keys = {
      // origin and tools
      "_name_or_path", "name_or_path", "_commit_hash", "architectures", "auto_map", "model_type",
      "transformers_version", "transformers.js_config", "incontext_version", "unsloth_version", "unsloth_fixed",
      "is_llama_config", "license",
      // training
      "initializer_range", "init_std", "attention_dropout", "hidden_dropout", "hidden_dropout_prob",
      "activation_dropout", "attention_probs_dropout_prob", "resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout",
      "layerdrop", "embd_layer_norm_init", "gradient_checkpointing", "gradient_checkpointing_use_reentrant",
      "pretraining_tp", "n_special", "predict_special_tokens", "training", "train_seq_len",
      // of other families: this one has no such layers
      "max_window_layers",
      // how it is run
      "torch_dtype", "dtype", "use_bfloat16", "use_cache", "torchscript", "attn_implementation", "_attn_implementation",
      "_attn_implementation_autoset", "_attn_implementation_internal", "_experts_implementation", "use_flash_attn",
      "use_flash_attention", "_flash_attn_2_enabled", "flash_attention", "chunk_size_feed_forward",
      "reorder_and_upcast_attn",
      // lengths of others' making: the context is max_position_embeddings, and what a rope block makes of it
      "n_ctx", "max_sequence_length", "max_seq_length", "max_seq_len", "seq_length", "model_max_length",
      // what answers hold, and other heads than the language model's
      "output_attentions", "output_hidden_states", "output_past", "return_dict", "use_return_dict", "num_labels",
      "_num_labels", "id2label", "label2id", "problem_type", "finetuning_task", "classifier_dropout",
      "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
      "summary_hidden_size", "tf_legacy_loss", "tie_encoder_decoder", "is_decoder",
      // tokens and text
      "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id", "mask_token_id",
      "decoder_start_token_id", "tokenizer_class", "tokenizer", "prefix", "task_specific_params", "chat_template",
      "max_length", "max_new_tokens", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups",
      "diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty",
      "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores",
      "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
      "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens"};
  return keys;
}

// What would change something with other values than these.
const std::map<std::string, std::map<std::string, std::vector<Json>>>& neutral_values() {
  static const std::map<std::string, std::map<std::string, std::vector<Json>>> table = {
      {"",  // every family
       {{"is_encoder_decoder", {false}},
        {"rope_interleaved", {false}},
        {"use_mrope", {false}},
        {"lm_head_bias", {false}},
        {"full_attn_mod", {1}},
        {"interpolate_factor", {1}},
        {"mlp_bias", {false}},
        {"attention_bias", {false}},
        {"use_qk_norm", {false}},
        {"learned_embeddings", {true}},
        {"pruned_heads", {Json::object(), Json::array()}}}},
      {"llama", {{"use_sliding_window", {false}}}},
      {"mistral", {{"use_sliding_window", {true}}}},
      {"phi3", {{"use_sliding_window", {true}}}},
      {"qwen2", {{"attention_bias", {false, true}}}},  // its queries, keys and values have them anyway
      {"qwen3", {{"use_qk_norm", {true}}}}};
  return table;
}

bool is_neutral(const std::string& model_type, const std::string& key, const Json& value) {
  const auto among = [&](const std::string& family) {
    const auto table = neutral_values().find(family);
    if (table == neutral_values().end()) return false;
    const auto values = table->second.find(key);
    return values != table->second.end() &&
           std::find(values->second.begin(), values->second.end(), value) != values->second.end();
  };
  return among(model_type) || among("");
}

[[noreturn]] void refuse(const std::string& key, const Json& value, const std::string& what, const std::string& where) {
  base::fail("{}: '{}' is {}, which we do not know: it may change what {} computes", where, base::printable(key),
             base::clip(base::printable(value.dump(-1, ' ', true)), 60), what);
}

}  // namespace

const Json& config_defaults(const std::string& model_type) {
  static const Json table = Json::parse(kDefaults);
  INCONTEXT_ASSERT(table.contains(model_type));
  return table[model_type];
}

Json with_defaults(const Json& json, const std::string& model_type, const std::string& where) {
  Json merged = config_defaults(model_type);
  const auto renamed = aliases().find(model_type);
  for (const auto& [key, value] : json.items()) {
    std::string name = key;
    if (renamed != aliases().end() && renamed->second.contains(key)) name = renamed->second.at(key);
    const bool obeyed = config_defaults(model_type).contains(name) ||
                        (is_llama_like(model_type) && obeyed_by_llama_like().contains(name));
    if (!obeyed && !value.is_null() && !harmless().contains(name) && !is_neutral(model_type, name, value)) {
      refuse(key, value, "the family " + model_type, where);
    }
    merged[name] = value;
  }
  return merged;
}

void check_rope_keys(const Json& rope, const std::string& type, const std::string& where) {
  static const std::map<std::string, std::set<std::string>> obeyed = {
      {"default", {}},
      {"linear", {"factor"}},
      {"dynamic", {"factor"}},
      {"llama3", {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}},
      {"yarn",
       {"factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "mscale",
        "mscale_all_dim", "truncate"}},
      {"longrope", {"factor", "original_max_position_embeddings", "attention_factor", "short_factor", "long_factor"}}};
  // Of every type; and what Yarn-Llama-2's authors wrote down beside.
  static const std::set<std::string> always = {"type", "rope_type", "rope_theta", "partial_rotary_factor", "finetuned"};
  // What other programs read, and where it changes nothing.
  static const std::map<std::string, Json> neutral = {
      {"attn_factor", 1}, {"extrapolation_factor", 1}, {"attention_factor", 1}, {"factor", 1}};
  for (const auto& [key, value] : rope.items()) {
    if (value.is_null() || always.contains(key) || obeyed.at(type).contains(key)) continue;
    const auto same = neutral.find(key);
    if (same != neutral.end() && same->second == value) continue;
    // The first context says nothing to the types that count from max_position_embeddings.
    if (key == "original_max_position_embeddings") continue;
    refuse(key, value, "rope type " + type, where);
  }
}

}  // namespace incontext::models
