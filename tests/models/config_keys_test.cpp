#include "models/config_keys.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "models/families.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::models {
namespace {

using base::Json;
using testing::error_of;

class ConfigKeys : public ::testing::Test {
 protected:
  testing::TemporaryDirectory place;

  LanguageConfig read(const Json& json) {
    base::write_file_atomic(place / "config.json", json.dump());
    return read_language_config(place.path());
  }
  std::string error(const Json& json) {
    return error_of([&] { read(json); });
  }
  // A config of a family with one more entry.
  static Json with(const std::string& family, const std::string& key, const Json& value) {
    return {{"model_type", family}, {key, value}};
  }
  static Json rope(const Json& block) { return with("llama", "rope_scaling", block); }
};

Json golden_defaults() {
  return Json::parse(
      base::read_file(std::filesystem::path(INCONTEXT_SOURCE_DIR) / "tests/golden/language/defaults.json"));
}

// tools/make_golden_defaults.py wrote them down from the config classes of transformers.
TEST_F(ConfigKeys, DefaultsAreThoseOfTransformers) {
  const Json golden = golden_defaults();
  for (const auto& [family, defaults] : golden.items()) {
    for (const auto& [key, value] : defaults.items()) EXPECT_EQ(config_defaults(family)[key], value) << family << key;
    EXPECT_EQ(config_defaults(family).size(), defaults.size()) << family;
  }
  EXPECT_EQ(golden.size() + 1, language_families().size()) << "and our own, which transformers does not know";
}

TEST_F(ConfigKeys, AFileThatSaysNothingIsReadByTheDefaults) {
  const Json golden = golden_defaults();
  for (const auto& [name_of_family, fields] : golden.items()) {
    const std::string family = name_of_family;
    SCOPED_TRACE(family);
    const LanguageConfig config = read({{"model_type", family}});
    const DecoderOptions& options = config.options;
    const auto field = [&](const char* name, const char* of_gpt2) {
      return fields[family == "gpt2" ? of_gpt2 : name].get<int64_t>();
    };
    EXPECT_EQ(options.width, field("hidden_size", "n_embd"));
    EXPECT_EQ(options.layers, field("num_hidden_layers", "n_layer"));
    EXPECT_EQ(options.attention.heads, field("num_attention_heads", "n_head"));
    EXPECT_EQ(options.tokens.vocabulary, field("vocab_size", "vocab_size"));
    EXPECT_EQ(options.max_positions, field("max_position_embeddings", "n_positions"));
    EXPECT_EQ(config.context, options.max_positions);
    EXPECT_EQ(options.tokens.tied_embeddings, fields["tie_word_embeddings"].get<bool>());
    EXPECT_EQ(options.norm.epsilon, fields.value("rms_norm_eps", 1e-5));
    if (family != "gpt2") {
      EXPECT_EQ(options.mlp.width, field(family == "opt" ? "ffn_dim" : "intermediate_size", ""));
    }
    EXPECT_TRUE(config.eos_ids.empty());  // an end that no file names is no end
  }
  EXPECT_EQ(read({{"model_type", "mistral"}}).options.attention.window.size, 4096);
  EXPECT_EQ(read({{"model_type", "mistral"}}).options.attention.kv_heads, 8);
  EXPECT_EQ(read(with("mistral", "sliding_window", nullptr)).options.attention.window.size, 0);
  EXPECT_EQ(read({{"model_type", "phi3"}}).options.attention.window.size, 0);
  EXPECT_EQ(read({{"model_type", "phi3"}}).options.attention.kv_heads, 32);
  EXPECT_EQ(read({{"model_type", "qwen2"}}).options.resolved_head_dim(), 128);
  EXPECT_EQ(read(with("qwen3", "hidden_size", 1024)).options.resolved_head_dim(), 128);
  EXPECT_EQ(read(with("qwen2", "use_sliding_window", true)).options.attention.window.of_layer(27), 0);
  EXPECT_EQ(read(with("qwen2", "use_sliding_window", true)).options.attention.window.of_layer(28), 4096);
  EXPECT_EQ(read({{"model_type", "opt"}}).options.mlp.width, 3072);
  EXPECT_TRUE(read({{"model_type", "gpt2"}}).options.attention.scale_scores);
}

TEST_F(ConfigKeys, WhatIsNotKnownIsRefusedByName) {
  EXPECT_CONTAINS(
      error(with("llama", "attn_logit_softcapping", 50.0)),
      "'attn_logit_softcapping' is 50.0, which we do not know: it may change what the family llama computes");
  EXPECT_CONTAINS(error(with("llama", "layer_norm_epsilon", 1e-5)), "'layer_norm_epsilon'");
  EXPECT_CONTAINS(error(with("mistral", "mlp_bias", true)), "'mlp_bias' is true");
  EXPECT_CONTAINS(error(with("qwen2", "dual_chunk_attention_config", Json::object())), "'dual_chunk_attention_config'");
  EXPECT_CONTAINS(error(with("gpt2", "rope_theta", 10000)), "'rope_theta'");
  EXPECT_CONTAINS(error(with("gpt2", "add_cross_attention", true)), "'add_cross_attention': expected false");
  EXPECT_CONTAINS(error(with("opt", "layer_norm_elementwise_affine", false)), "expected true");
  EXPECT_CONTAINS(error(with("phi3", "partial_rotary_factor", 0)), "'partial_rotary_factor'");
  EXPECT_CONTAINS(error(with("llama", "partial_rotary_factor", 0.5)), "expected 1 in this family");
  EXPECT_CONTAINS(error(with("llama", "rms_norm_eps", nullptr)), "'rms_norm_eps': expected a number, got nothing");
}

TEST_F(ConfigKeys, WhatChangesNothingPasses) {
  for (const auto& [family, key, value] :
       std::vector<std::tuple<std::string, std::string, Json>>{{"llama", "attn_logit_softcapping", nullptr},
                                                               {"llama", "transformers.js_config", {{"dtype", "q4"}}},
                                                               {"llama", "rope_interleaved", false},
                                                               {"llama", "pretraining_tp", 2},
                                                               {"llama", "temperature", 0.7},
                                                               {"llama", "sliding_window", 4096},
                                                               {"mistral", "mlp_bias", false},
                                                               {"qwen2", "attention_bias", true},
                                                               {"phi3", "full_attn_mod", 1},
                                                               {"opt", "prefix", "</s>"},
                                                               {"opt", "learned_embeddings", true},
                                                               {"gpt2", "n_ctx", 1024},
                                                               {"gpt2", "reorder_and_upcast_attn", true}}) {
    EXPECT_EQ(error(with(family, key, value)), "no error") << key;
  }
  // As Phi-4-mini's, SmolLM2's and Qwen2.5's repositories have them.
  Json phi = with("phi3", "auto_map", {{"AutoConfig", "configuration_phi3.Phi3Config"}});
  for (const char* key : {"attention_bias", "mlp_bias", "lm_head_bias"}) phi[key] = false;
  phi["interpolate_factor"] = phi["full_attn_mod"] = 1;
  phi["partial_rotary_factor"] = 0.75;
  EXPECT_EQ(read(phi).options.rotary_dim(), 72);
  Json smol = with("llama", "is_llama_config", true);
  smol["rope_interleaved"] = false;
  smol["transformers.js_config"] = {{"kv_cache_dtype", {{"q4f16", "float16"}}}};
  EXPECT_EQ(error(smol), "no error");
  EXPECT_EQ(error(with("qwen2", "use_mrope", false)), "no error");
  EXPECT_EQ(read(with("llama", "sliding_window", 4096)).options.attention.window.size, 0);
  EXPECT_EQ(read(with("gpt2", "hidden_size", 96)).options.width, 96);  // another name of n_embd
}

TEST_F(ConfigKeys, RopeBlocksHoldWhatTheirTypeObeys) {
  EXPECT_CONTAINS(error(rope({{"type", "linear"}, {"factor", 2}, {"mscale", 1.5}})),
                  "rope_scaling: 'mscale' is 1.5, which we do not know: it may change what rope type linear computes");
  EXPECT_CONTAINS(error(rope({{"type", "yarn"}, {"factor", 2}, {"attn_factor", 2}})), "'attn_factor' is 2");
  EXPECT_CONTAINS(error(rope({{"type", "dynamic"}, {"alpha", 1000}, {"factor", 1}})), "'alpha' is 1000");
  EXPECT_CONTAINS(error(rope({{"full_attention", Json::object()}})), "'full_attention'");
  EXPECT_CONTAINS(error(rope({{"type", "linear"}})), "'factor': expected a number, got nothing");
  EXPECT_CONTAINS(error(rope({{"type", "linear"}, {"factor", 0}})), "'factor': expected a number above 0, got 0");
  EXPECT_CONTAINS(error(rope({{"type", "llama3"}, {"factor", 8}, {"low_freq_factor", 1}})), "'high_freq_factor'");
  EXPECT_CONTAINS(error(rope({{"type", "proportional"}})),
                  "rope type 'proportional': expected default, linear, dynamic, llama3, yarn and longrope");
  EXPECT_CONTAINS(error(rope({{"type", "su"}})), "rope type 'su'");
  EXPECT_CONTAINS(error(with("phi3", "rope_scaling", {{"type", "linear"}, {"factor", 2}})), "rope type 'linear'");
  EXPECT_EQ(error(rope({{"type", "yarn"}, {"factor", 2}, {"finetuned", true}, {"attn_factor", 1}})), "no error");
  EXPECT_EQ(error(rope({{"type", "linear"}, {"factor", 2}, {"mscale", nullptr}})), "no error");
}

TEST_F(ConfigKeys, YarnsOwnKeys) {
  const RopeScalingOptions said = read(rope({{"rope_type", "yarn"},
                                             {"factor", 4},
                                             {"original_max_position_embeddings", 512},
                                             {"mscale", 0.7},
                                             {"mscale_all_dim", 1.2},
                                             {"truncate", false},
                                             {"beta_fast", 16},
                                             {"beta_slow", 2},
                                             {"attention_factor", 1.5}}))
                                      .options.rope.scaling;
  EXPECT_EQ(said.mscale, 0.7);
  EXPECT_EQ(said.mscale_all_dim, 1.2);
  EXPECT_FALSE(said.truncate);
  EXPECT_EQ(said.beta_fast, 16);
  EXPECT_EQ(said.beta_slow, 2);
  EXPECT_EQ(said.attention_factor, 1.5);
  const RopeScalingOptions silent = read(rope({{"rope_type", "yarn"}, {"factor", 4}})).options.rope.scaling;
  EXPECT_EQ(silent.mscale, 0);
  EXPECT_TRUE(silent.truncate);
  EXPECT_EQ(silent.beta_fast, 32);
  EXPECT_EQ(silent.beta_slow, 1);
  EXPECT_EQ(silent.original_max_positions, 2048);
}

// Of two blocks the older name wins, of two first contexts the one beside the block, as in transformers.
TEST_F(ConfigKeys, WhichOfTwoWins) {
  Json both = with("llama", "rope_parameters", {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 100}});
  both["rope_scaling"] = Json::object();
  both["rope_theta"] = 7;
  EXPECT_EQ(read(both).options.rope.theta, 100);
  both["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(read(both).options.rope.scaling.factor, 4);
  EXPECT_EQ(read(both).options.rope.theta, 7);
  Json yarn = rope({{"type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 512}});
  EXPECT_EQ(read(yarn).options.rope.scaling.original_max_positions, 512);
  yarn["original_max_position_embeddings"] = 256;
  EXPECT_EQ(read(yarn).options.rope.scaling.original_max_positions, 256);
}

// As vLLM derives max_model_len.
TEST_F(ConfigKeys, ScaledPositionsStretchTheContext) {
  const auto context = [&](Json block, int64_t positions) {
    Json json = rope(block);
    json["max_position_embeddings"] = positions;
    return read(json).context;
  };
  EXPECT_EQ(context({{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32768}}, 32768), 131072);
  EXPECT_EQ(context({{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32768}}, 131072), 131072);
  EXPECT_EQ(context({{"type", "yarn"}, {"factor", 4.0}}, 4096), 16384);
  EXPECT_EQ(context({{"type", "yarn"}, {"original_max_position_embeddings", 1000}}, 4096), 4096);
  EXPECT_EQ(context({{"type", "linear"}, {"factor", 2.5}}, 4096), 10240);
  EXPECT_EQ(context({{"type", "dynamic"}, {"factor", 2}}, 4096), 8192);
  EXPECT_EQ(context({{"type", "llama3"},
                     {"factor", 8},
                     {"low_freq_factor", 1},
                     {"high_freq_factor", 4},
                     {"original_max_position_embeddings", 8192}},
                    131072),
            131072);
  EXPECT_EQ(context({{"rope_type", "default"}}, 4096), 4096);
  Json phi3 = with("phi3", "rope_scaling",
                   {{"type", "longrope"}, {"short_factor", Json::array()}, {"long_factor", Json::array()}});
  for (int pair = 0; pair < 48; ++pair) {
    phi3["rope_scaling"]["short_factor"].push_back(1);
    phi3["rope_scaling"]["long_factor"].push_back(2);
  }
  phi3["max_position_embeddings"] = 131072;
  EXPECT_EQ(read(phi3).context, 131072);
  EXPECT_EQ(read(phi3).options.rope.scaling.original_max_positions, 4096);
  EXPECT_EQ(read(phi3).options.rope.scaling.factor, 32);
}

TEST_F(ConfigKeys, LayerTypesSayWhichLayersSlide) {
  const Json mixed = {"sliding_attention", "full_attention", "sliding_attention"};
  for (const std::string family : {"qwen2", "qwen3", "mistral", "phi3", "llama"}) {
    SCOPED_TRACE(family);
    Json json = with(family, "layer_types", mixed);
    json["num_hidden_layers"] = 3;
    json["sliding_window"] = 8;
    if (family.starts_with("qwen")) json["use_sliding_window"] = true;
    const DecoderOptions options = read(json).options;
    EXPECT_EQ(options.attention.window.of_layer(0), 8);
    EXPECT_EQ(options.attention.window.of_layer(1), 0);
    EXPECT_EQ(options.attention.window.of_layer(2), 8);
    json["num_hidden_layers"] = 4;
    EXPECT_CONTAINS(error(json), "'layer_types': expected 4 entries, got 3");
    json["num_hidden_layers"] = 3;
    json["layer_types"][1] = "linear_attention";
    EXPECT_CONTAINS(error(json), "expected full_attention and sliding_attention, got 'linear_attention'");
    json["layer_types"] = mixed;
    json["sliding_window"] = nullptr;
    EXPECT_CONTAINS(error(json), "layer 0 slides, but there is no sliding_window");
  }
  EXPECT_CONTAINS(error(with("mistral", "sliding_window", 0)), "'sliding_window': expected at least 1, got 0");
}

TEST_F(ConfigKeys, ActivationsByAllTheirNames) {
  EXPECT_EQ(read(with("llama", "hidden_act", "swish")).options.mlp_of(0), MlpType::gated);
  EXPECT_EQ(read(with("gpt2", "activation_function", "relu")).options.mlp_of(0), MlpType::relu);
  EXPECT_EQ(read(with("opt", "activation_function", "gelu_fast")).options.mlp_of(0), MlpType::gelu);
  EXPECT_CONTAINS(error(with("gpt2", "activation_function", "gelu")), "the activation 'gelu' is not one");
  EXPECT_CONTAINS(error(with("llama", "hidden_act", "relu")),
                  "the activation 'relu' is not one that our decoder has for this family: silu and swish");
}

TEST_F(ConfigKeys, NumbersThatPythonWrites) {
  base::write_file_atomic(place / "config.json", R"({"model_type": "llama", "initializer_range": Infinity})");
  EXPECT_EQ(read_language_config(place.path()).options.width, 4096);
  base::write_file_atomic(place / "config.json", R"({"model_type": "llama", "rms_norm_eps": NaN})");
  EXPECT_CONTAINS(error_of([&] { read_language_config(place.path()); }), "'rms_norm_eps': expected a number, got NaN");
}

}  // namespace
}  // namespace incontext::models
