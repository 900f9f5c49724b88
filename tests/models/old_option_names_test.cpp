#include "models/old_option_names.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "models/checkpoint.h"
#include "models/language_folder.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::models {
namespace {

using base::Json;
using testing::error_of;

// All fields, as they were written before they had groups, with other values than the defaults where that is possible.
constexpr const char* kFlat = R"({"width": 64, "layers": 3, "heads": 4, "kv_heads": 2, "head_dim": 32, "norm": "rms",
    "norm_epsilon": 1e-06, "position": "rotary", "max_positions": 512, "rope_theta": 5000.0,
    "mixers": ["attention", "attention"], "mlp": ["gated", "relu"], "mlp_width": 96, "bias": false, "init_std": 0.05,
    "loop": {"count": 0, "first_layer": 1, "last_layer": 2, "injection": "multiply"}, "vocabulary": 50,
    "family": "incontext", "tied_embeddings": true, "token_width": 48, "norm_place": "after", "final_norm": false,
    "qkv_bias": true, "out_bias": true, "mlp_bias": true, "qk_norm": true, "sliding_window": 7,
    "sliding_from_layer": 1, "full_layers": [2], "scale_scores": false, "scale_by_layer": true,
    "rotary_fraction": 0.5, "rope_scaling": {"type": "longrope", "factor": 4.0, "low_freq_factor": 2.0,
    "high_freq_factor": 5.0, "beta_fast": 31.0, "beta_slow": 2.0, "attention_factor": 1.5, "mscale": 0.7,
    "mscale_all_dim": 0.8, "truncate": false, "original_max_positions": 128,
    "short_factor": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], "long_factor": [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]}})";

constexpr const char* kInGroups = R"({"width": 64, "layers": 3, "position": "rotary", "max_positions": 512,
    "mixers": ["attention", "attention"], "bias": false, "init_std": 0.05,
    "attention": {"heads": 4, "kv_heads": 2, "head_dim": 32, "qkv_bias": true, "out_bias": true, "qk_norm": true,
    "scale_scores": false, "scale_by_layer": true, "window": {"size": 7, "from_layer": 1, "full_layers": [2]}},
    "rope": {"theta": 5000.0, "fraction": 0.5, "scaling": {"type": "longrope", "factor": 4.0, "low_freq_factor": 2.0,
    "high_freq_factor": 5.0, "beta_fast": 31.0, "beta_slow": 2.0, "attention_factor": 1.5, "mscale": 0.7,
    "mscale_all_dim": 0.8, "truncate": false, "original_max_positions": 128,
    "short_factor": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], "long_factor": [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]}},
    "norm": {"type": "rms", "epsilon": 1e-06, "place": "after", "final": false},
    "mlp": {"type": ["gated", "relu"], "width": 96, "bias": true},
    "loop": {"count": 0, "first_layer": 1, "last_layer": 2, "injection": "multiply"},
    "tokens": {"vocabulary": 50, "width": 48, "tied_embeddings": true}, "family": "incontext"})";

DecoderOptions read(const std::string& yaml, const std::vector<std::string>& assignments = {}) {
  base::ConfigNode node = base::parse_yaml(yaml, "a.yaml");
  for (const std::string& assignment : assignments) base::apply_assignment(node, assignment);
  DecoderOptions options;
  base::read_options(node, options, "model.");
  return options;
}

Json json_of(const std::string& yaml) { return base::options_to_json(read(yaml)); }

std::string error(const std::string& yaml, const std::vector<std::string>& assignments = {}) {
  return error_of([&] { read(yaml, assignments); });
}

TEST(OldOptionNames, AFlatConfigurationIsTheOneInGroups) {
  EXPECT_EQ(json_of(kInGroups), Json::parse(kInGroups));
  EXPECT_EQ(json_of(kFlat), Json::parse(kInGroups));
  EXPECT_EQ(json_of(base::json_to_yaml(Json::parse(kFlat))), Json::parse(kInGroups)) << "block-style, as of a run";
  const Json flat = Json::parse(kFlat), defaults = base::options_to_json(DecoderOptions());
  for (const base::OldName& name : kOldOptionNames) {
    SCOPED_TRACE(name.old_name);
    ASSERT_TRUE(flat.contains(name.old_name));
    Json value = flat[name.old_name];
    if (value.is_object()) value["type"] = "yarn";  // longrope's factors want the head's size
    const Json alone = json_of(base::json_to_yaml({{name.old_name, value}, {"width", 64}, {"layers", 3}}));
    EXPECT_NE(alone, json_of("{width: 64, layers: 3}")) << "it is read where nothing else is given";
    EXPECT_EQ(alone.size(), defaults.size());
  }
}

TEST(OldOptionNames, ErrorsNameTheLineAndTheNewName) {
  EXPECT_EQ(error("width: 64\nnorm: layr"),
            "a.yaml:2: model.norm.type: expected one of layer and rms, got 'layr'; did you mean 'layer'?");
  EXPECT_EQ(error("heads: 0"), "a.yaml:1: model.attention.heads: expected a whole number of at least 1, got '0'");
  EXPECT_CONTAINS(error("attention: 3\nheads: 4"), "a.yaml:1: model.attention: expected 'key: value' entries, got '3'");
  EXPECT_EQ(read("heads: 2", {"heads=4"}).attention.heads, 4);
}

TEST(OldOptionNames, OldAndNewTogetherAreAnError) {
  EXPECT_EQ(error("heads: 4\nattention:\n  heads: 4"),
            "a.yaml:1: model.heads is an old name of model.attention.heads, which a.yaml:3 gives too: expected one of "
            "them");
  EXPECT_CONTAINS(error("rope_scaling: {factor: 2}\nrope: {scaling: {type: linear}}"),
                  "model.rope_scaling is an old name of model.rope.scaling");
  EXPECT_EQ(read("heads: 4\nattention: {kv_heads: 2}").attention.kv_heads, 2) << "others of the group";
  // Where the old name is that of a group now, one replaces the other when configurations are merged.
  EXPECT_EQ(error("norm: {type: rms, epsilon: 1e-6}", {"norm=layer"}),
            "--set norm=layer: model.norm is an old name of model.norm.type, which a.yaml:1 gives too: expected one of "
            "them");
  EXPECT_EQ(error("mlp: gated", {"mlp.width=64", "mlp.bias=true"}),
            "a.yaml:1: model.mlp is an old name of model.mlp.type, which --set mlp.width=64 gives too: expected one of "
            "them");
  EXPECT_EQ(read("mlp: [gelu, relu]", {"mlp=gated"}).mlp_of(1), MlpType::gated);
  EXPECT_EQ(read("mlp:", {"mlp.width=64"}).mlp.width, 64);
}

// A folder that was written before has the options, and the weights, of one that is written now.
TEST(OldOptionNames, OldModelFoldersOpen) {
  const testing::TemporaryDirectory place;
  const auto write_flat = [&](Json model) {
    Json config = Json::parse(base::read_file(place / "config.json"));
    config["model"] = std::move(model);
    base::write_file_atomic(place / "config.json", config.dump());
  };
  const Json small = {{"width", 8},     {"layers", 2},   {"heads", 4},         {"norm", "rms"},
                      {"mlp", "gated"}, {"bias", false}, {"max_positions", 16}};
  const Decoder vectors(read(base::json_to_yaml(small)), /*input_dims=*/3, 1, torch::kCPU);
  save_model(vectors, place.path());
  write_flat(small);
  const Decoder opened = load_model(place.path(), torch::kCPU);
  EXPECT_EQ(base::options_to_json(opened.options()), base::options_to_json(vectors.options()));
  EXPECT_EQ(opened.options().attention.heads, 4);
  EXPECT_TRUE(opened.parameters().front().tensor.equal(vectors.parameters().front().tensor));

  Json tokens = small;
  tokens["vocabulary"] = 30;
  tokens["tied_embeddings"] = true;
  const Decoder language(read(base::json_to_yaml(tokens)), /*input_dims=*/0, 1, torch::kCPU);
  save_language_folder(language, place.path(), {.family = "incontext"});
  write_flat(tokens);
  DecoderOptions described = describe_language_folder(place.path()).options;
  described.family = "";
  EXPECT_EQ(base::options_to_json(described), base::options_to_json(language.options()));
}

}  // namespace
}  // namespace incontext::models
