#include "models/families/config_parts.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/text.h"
#include "models/config_keys.h"

namespace incontext::models {
namespace {

std::string rope_type(const JsonFields& rope, const std::string& model_type) {
  std::string type = rope.text("rope_type", rope.text("type", "default"));
  if (model_type == "phi3" && (type == "su" || type == "yarn")) type = "longrope";  // its first names
  const std::vector<std::string> types =
      model_type == "phi3" ? std::vector<std::string>{"default", "longrope"}
                           : std::vector<std::string>{"default", "linear", "dynamic", "llama3", "yarn", "longrope"};
  base::check(std::find(types.begin(), types.end(), type) != types.end(), "{}: rope type '{}': expected {}",
              rope.where(), base::printable(type), base::enumerate_names(types));
  check_rope_keys(rope.json(), type, rope.where());
  return type;
}

double positive(const JsonFields& json, const std::string& key, double value) {
  base::check(value > 0, "{}: '{}': expected a number above 0, got {}", json.where(), key, value);
  return value;
}

void read_rope_scaling(const JsonFields& json, const JsonFields& rope, RopeScalingType type, LanguageConfig& config) {
  using enum RopeScalingType;
  DecoderOptions& options = config.options;
  RopeScalingOptions& scaling = options.rope.scaling;
  scaling.type = type;
  // The key beside the block wins over the one in it.
  scaling.original_max_positions = json.integer(
      "original_max_position_embeddings", rope.integer("original_max_position_embeddings", options.max_positions));
  base::check(scaling.original_max_positions > 0, "{}: 'original_max_position_embeddings': expected at least 1, got {}",
              rope.where(), scaling.original_max_positions);
  // These two may leave it to the ratio of the contexts.
  const bool by_ratio = (type == yarn || type == longrope) && !rope.has("factor");
  scaling.factor =
      by_ratio ? static_cast<double>(options.max_positions) / static_cast<double>(scaling.original_max_positions)
               : positive(rope, "factor", rope.number("factor"));
  const auto optional = [&](const char* key) { return rope.has(key) ? positive(rope, key, rope.number(key)) : 0; };
  const auto number_or = [&](const char* key, double otherwise) {  // 0 stands for the default, too
    const double value = rope.number(key, 0);
    return value == 0 ? otherwise : positive(rope, key, value);
  };
  scaling.attention_factor = optional("attention_factor");
  if (type == llama3) {
    scaling.low_freq_factor = positive(rope, "low_freq_factor", rope.number("low_freq_factor"));
    scaling.high_freq_factor = positive(rope, "high_freq_factor", rope.number("high_freq_factor"));
  } else if (type == yarn) {
    scaling.beta_fast = number_or("beta_fast", 32);
    scaling.beta_slow = number_or("beta_slow", 1);
    scaling.mscale = number_or("mscale", 0);
    scaling.mscale_all_dim = number_or("mscale_all_dim", 0);
    scaling.truncate = rope.boolean("truncate", true);
  } else if (type == longrope) {
    scaling.short_factor = rope.numbers("short_factor");
    scaling.long_factor = rope.numbers("long_factor");
    for (const double each : scaling.short_factor) positive(rope, "short_factor", each);
    for (const double each : scaling.long_factor) positive(rope, "long_factor", each);
  }
  // The context that a stretched model is meant for, as vLLM derives it.
  if (!by_ratio && (type == linear || type == dynamic || type == yarn)) {
    const int64_t first = type == yarn ? scaling.original_max_positions : options.max_positions;
    const double context = static_cast<double>(first) * scaling.factor;
    base::check(context < 0x1p31, "{}: a context of {} tokens: expected less than 2^31", rope.where(), context);
    config.context = static_cast<int64_t>(context);
  }
}

// `rope_scaling` with "type" or "rope_type", or the newer `rope_parameters`, which holds the base too.
void read_rope(const JsonFields& json, LanguageConfig& config) {
  DecoderOptions& options = config.options;
  options.position = PositionType::rotary;
  options.rope.theta = json.number("rope_theta", 10000);
  options.rope.fraction = json.number("partial_rotary_factor", 1);
  std::optional<JsonFields> rope = json.object("rope_scaling");
  if (!rope || rope->json().empty()) rope = json.object("rope_parameters");
  if (rope) {
    options.rope.theta = rope->number("rope_theta", options.rope.theta);
    options.rope.fraction = rope->number("partial_rotary_factor", options.rope.fraction);
    const std::string type = rope_type(*rope, config.model_type);
    if (type != "default") read_rope_scaling(json, *rope, *base::value_named<RopeScalingType>(type), config);
  }
  positive(json, "rope_theta", options.rope.theta);
  base::check(config.model_type == "phi3" ? options.rope.fraction > 0 && options.rope.fraction <= 1
                                          : options.rope.fraction == 1,
              "{}: 'partial_rotary_factor': expected {}, got {}", json.where(),
              config.model_type == "phi3" ? "a part of 1" : "1 in this family", options.rope.fraction);
}

}  // namespace

// Names that transformers has for what the decoder computes. gelu_fast and gelu_accurate are other spellings of the
// same formula.
MlpType mlp_of(const JsonFields& json, const std::string& activation, bool gated) {
  static const std::map<std::string, MlpType> plain = {{"relu", MlpType::relu},
                                                       {"gelu_new", MlpType::gelu},
                                                       {"gelu_pytorch_tanh", MlpType::gelu},
                                                       {"gelu_python_tanh", MlpType::gelu},
                                                       {"gelu_fast", MlpType::gelu},
                                                       {"gelu_accurate", MlpType::gelu}};
  static const std::map<std::string, MlpType> with_gate = {{"silu", MlpType::gated}, {"swish", MlpType::gated}};
  const auto& known = gated ? with_gate : plain;
  const auto found = known.find(activation);
  if (found != known.end()) return found->second;
  std::vector<std::string> names;
  names.reserve(known.size());
  for (const auto& [name, mlp] : known) names.push_back(name);
  base::fail("{}: the activation '{}' is not one that our decoder has for this family: {}", json.where(),
             base::printable(activation), base::enumerate_names(names));
}

void read_windows(const JsonFields& json, int64_t window, DecoderOptions& options) {
  options.attention.window.size = window;
  if (!json.has("layer_types")) return;
  const std::vector<std::string> types = json.texts("layer_types");
  base::check(static_cast<int64_t>(types.size()) == options.layers, "{}: 'layer_types': expected {} entries, got {}",
              json.where(), options.layers, types.size());
  options.attention.window.from_layer = 0;
  for (size_t layer = 0; layer < types.size(); ++layer) {
    const bool full = types[layer] == "full_attention" || types[layer] == "attention";
    base::check(full || types[layer] == "sliding_attention",
                "{}: 'layer_types': expected full_attention and sliding_attention, got '{}'", json.where(),
                base::printable(types[layer]));
    base::check(full || window > 0, "{}: 'layer_types': layer {} slides, but there is no sliding_window", json.where(),
                layer);
    if (full) options.attention.window.full_layers.push_back(static_cast<int64_t>(layer));
  }
}

int64_t window_of(const JsonFields& json) {
  if (!json.has("sliding_window")) return 0;
  const int64_t window = json.integer("sliding_window");
  base::check(window > 0, "{}: 'sliding_window': expected at least 1, got {}", json.where(), window);
  return window;
}

void read_llama_like(const JsonFields& json, LanguageConfig& config) {
  DecoderOptions& options = config.options;
  options.width = json.integer("hidden_size");
  options.layers = json.integer("num_hidden_layers");
  options.attention.heads = json.integer("num_attention_heads");
  options.attention.kv_heads = json.integer("num_key_value_heads", options.attention.heads);
  options.attention.head_dim = json.integer("head_dim", 0);
  options.mlp.width = json.integer("intermediate_size");
  options.max_positions = json.integer("max_position_embeddings");
  options.tokens.vocabulary = json.integer("vocab_size");
  options.tokens.tied_embeddings = json.boolean("tie_word_embeddings");
  options.norm.type = NormType::rms;
  options.norm.epsilon = json.number("rms_norm_eps");
  options.mlp.type = mlp_of(json, json.text("hidden_act"), /*gated=*/true);
  options.bias = false;
  config.context = options.max_positions;
  read_rope(json, config);
}

void read_qwen(const JsonFields& json, LanguageConfig& config) {
  read_llama_like(json, config);
  config.options.attention.window.from_layer = json.integer("max_window_layers");
  read_windows(json, json.boolean("use_sliding_window") ? window_of(json) : 0, config.options);
}

std::vector<TensorRule> llama_like_tensors() {
  return {{"model.embed_tokens", {"embedding"}},
          {"model.norm", {"norm"}},
          {"lm_head", {"head"}},
          {"model.layers.N.input_layernorm", {"layers.N.norm1"}},
          {"model.layers.N.post_attention_layernorm", {"layers.N.norm2"}},
          {"model.layers.N.self_attn.q_proj", {"layers.N.attention.q"}},
          {"model.layers.N.self_attn.k_proj", {"layers.N.attention.k"}},
          {"model.layers.N.self_attn.v_proj", {"layers.N.attention.v"}},
          {"model.layers.N.self_attn.q_norm", {"layers.N.attention.q_norm"}},
          {"model.layers.N.self_attn.k_norm", {"layers.N.attention.k_norm"}},
          {"model.layers.N.self_attn.o_proj", {"layers.N.attention.out"}},
          {"model.layers.N.mlp.gate_proj", {"layers.N.mlp.gate"}},
          {"model.layers.N.mlp.up_proj", {"layers.N.mlp.up"}},
          {"model.layers.N.mlp.down_proj", {"layers.N.mlp.down"}}};
}

std::set<std::string> obeyed_by_llama_like() {
  return {"head_dim",       "layer_types",          "rope_theta",
          "rope_scaling",   "rope_parameters",      "original_max_position_embeddings",
          "sliding_window", "partial_rotary_factor"};
}

}  // namespace incontext::models
