#include "models/config_keys.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/text.h"

namespace incontext::models {
namespace {

using base::Json;

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
      "use_flash_attention", "_flash_attn_2_enabled", "flash_attention", "cache_implementation", "base_model_tp_plan",
      "base_model_pp_plan", "chunk_size_feed_forward", "reorder_and_upcast_attn",
      // lengths of others' making: the context is max_position_embeddings, and what a rope block makes of it
      "n_ctx", "max_sequence_length", "max_seq_length", "max_seq_len", "seq_length", "model_max_length",
      // what answers hold, and other heads than the language model's
      "output_attentions", "output_hidden_states", "output_past", "return_dict", "use_return_dict", "num_labels",
      "_num_labels", "id2label", "label2id", "problem_type", "finetuning_task", "classifier_dropout",
      "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
      "summary_hidden_size", "tf_legacy_loss", "tie_encoder_decoder", "is_decoder",
      // tokens and text
      "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id", "mask_token_id",
      "decoder_start_token_id", "tokenizer_class", "tokenizer", "tokenizer_model_max_length", "tokenizer_padding_side",
      "prefix", "task_specific_params", "chat_template", "max_length", "max_new_tokens", "min_length", "do_sample",
      "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p",
      "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
      "bad_words_ids", "num_return_sequences", "output_scores", "return_dict_in_generate", "forced_bos_token_id",
      "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
      "begin_suppress_tokens"};
  return keys;
}

// What would change something with other values than these, in every family.
const std::map<std::string, std::vector<Json>>& neutral_values() {
  static const std::map<std::string, std::vector<Json>> table = {{"is_encoder_decoder", {false}},
                                                                 {"rope_interleaved", {false}},
                                                                 {"use_mrope", {false}},
                                                                 {"lm_head_bias", {false}},
                                                                 {"full_attn_mod", {1}},
                                                                 {"interpolate_factor", {1}},
                                                                 {"mlp_bias", {false}},
                                                                 {"attention_bias", {false}},
                                                                 {"use_qk_norm", {false}},
                                                                 {"learned_embeddings", {true}},
                                                                 {"pruned_heads", {Json::object(), Json::array()}}};
  return table;
}

bool is_among(const std::map<std::string, std::vector<Json>>& table, const std::string& key, const Json& value) {
  const auto values = table.find(key);
  return values != table.end() &&
         std::find(values->second.begin(), values->second.end(), value) != values->second.end();
}

[[noreturn]] void refuse(const std::string& key, const Json& value, const std::string& what, const std::string& where) {
  base::fail("{}: '{}' is {}, which we do not know: it may change what {} computes", where, base::printable(key),
             base::clip(base::printable(value.dump(-1, ' ', true)), 60), what);
}

}  // namespace

Json with_defaults(const Json& json, const Family& family, const std::string& where) {
  Json merged = family.defaults;
  for (const auto& [key, value] : json.items()) {
    const auto renamed = family.aliases.find(key);
    const std::string name = renamed == family.aliases.end() ? key : renamed->second;
    const bool obeyed = family.defaults.contains(name) || family.obeyed.contains(name);
    const bool neutral = is_among(family.neutral, name, value) || is_among(neutral_values(), name, value);
    if (!obeyed && !value.is_null() && !harmless().contains(name) && !neutral) {
      refuse(key, value, "the family " + family.name, where);
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
