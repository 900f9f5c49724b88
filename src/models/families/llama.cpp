#include "models/families/config_parts.h"
#include "models/families/rows.h"

namespace incontext::models {
namespace {

constexpr const char* kLlamaDefaults = R"(
    {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": null, "hidden_act": "silu",
    "max_position_embeddings": 2048, "initializer_range": 0.02, "rms_norm_eps": 1e-06, "use_cache": true,
    "pad_token_id": null, "bos_token_id": 1, "eos_token_id": 2, "pretraining_tp": 1,
    "tie_word_embeddings": false, "rope_parameters": null, "attention_bias": false,
    "attention_dropout": 0.0, "mlp_bias": false, "head_dim": null})";

void read_llama(const JsonFields& json, LanguageConfig& config) {
  read_llama_like(json, config);
  config.options.attention.qkv_bias = config.options.attention.out_bias = json.boolean("attention_bias");
  config.options.mlp.bias = json.boolean("mlp_bias");
  // Without layer_types no layer slides, whatever is said of a window.
  read_windows(json, json.has("layer_types") ? window_of(json) : 0, config.options);
}

std::string problem_of_llama(const DecoderOptions& options) {
  const auto expect = [](bool fits, const char* what) { return fits ? "" : what; };
  for (const char* problem :
       {expect(options.norm.type == NormType::rms, "model.norm.type: expected rms"),
        expect(options.norm.place == NormPlace::before, "model.norm.place: expected before"),
        expect(options.norm.final, "model.norm.final: expected true"),
        expect(options.position == PositionType::rotary, "model.position: expected rotary"),
        expect(options.rope.fraction == 1, "model.rope.fraction: expected 1"),
        expect(options.rope.scaling.type == RopeScalingType::none, "model.rope.scaling.type: expected none"),
        expect(options.mlp.type == base::OneOrMore<MlpType>{MlpType::gated}, "model.mlp.type: expected gated"),
        expect(options.mixers == base::OneOrMore<std::string>{"attention"}, "model.mixers: expected attention"),
        expect(!options.bias, "model.bias: expected false"),
        expect(options.attention.qkv_bias == options.attention.out_bias,
               "model.attention.qkv_bias and model.attention.out_bias: expected the same"),
        expect(!options.attention.qk_norm, "model.attention.qk_norm: expected false"),
        expect(options.attention.scale_scores, "model.attention.scale_scores: expected true"),
        expect(!options.attention.scale_by_layer, "model.attention.scale_by_layer: expected false"),
        expect(options.attention.window.size == 0, "model.attention.window.size: expected 0"),
        expect(options.resolved_token_width() == options.width, "model.tokens.width: expected the model's width"),
        expect(!options.looped(), "model.loop.count: expected 0")}) {
    if (*problem != '\0') return problem;
  }
  return "";
}

base::Json write_llama(const DecoderOptions& options) {
  return {{"vocab_size", options.tokens.vocabulary},
          {"hidden_size", options.width},
          {"intermediate_size", options.resolved_mlp_width()},
          {"num_hidden_layers", options.layers},
          {"num_attention_heads", options.attention.heads},
          {"num_key_value_heads", options.resolved_kv_heads()},
          {"head_dim", options.resolved_head_dim()},
          {"hidden_act", "silu"},
          {"max_position_embeddings", options.max_positions},
          {"rms_norm_eps", options.norm.epsilon},
          {"rope_theta", options.rope.theta},
          {"attention_bias", options.attention.qkv_bias},
          {"mlp_bias", options.mlp.bias},
          {"tie_word_embeddings", options.tokens.tied_embeddings},
          {"initializer_range", options.init_std},
          {"use_cache", true}};
}

}  // namespace

Family llama_family() {
  Family family;
  family.name = "llama";
  family.architecture = "LlamaForCausalLM";
  family.defaults = base::Json::parse(kLlamaDefaults);
  family.obeyed = obeyed_by_llama_like();
  family.neutral = {{"use_sliding_window", {false}}};
  family.read = read_llama;
  family.tensors = llama_like_tensors();
  family.problem = problem_of_llama;
  family.write = write_llama;
  return family;
}

}  // namespace incontext::models
