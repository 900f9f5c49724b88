#include <gtest/gtest.h>

#include <filesystem>

#include "base/config_node.h"
#include "base/file.h"
#include "models/language_model.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "tensor/safetensors.h"

namespace incontext::models {
namespace {

namespace fs = std::filesystem;
using base::Json;
using testing::error_of;

// A copy of a golden model whose files a test may spoil.
class LanguageFiles : public ::testing::Test {
 protected:
  testing::TemporaryDirectory place;
  fs::path folder = place / "model";

  void copy(const std::string& name) {
    fs::remove_all(folder);
    fs::create_directories(folder);
    for (const auto& entry : fs::directory_iterator(fs::path(INCONTEXT_SOURCE_DIR) / "tests/golden/language" / name)) {
      if (!entry.path().filename().string().starts_with("golden")) fs::copy(entry.path(), folder);
    }
  }
  void change_config(const std::string& key, const Json& value) {
    Json json = Json::parse(base::read_file(folder / "config.json"));
    json[key] = value;
    base::write_file_atomic(folder / "config.json", json.dump());
  }
  void change_weights(const std::function<void(tensor::NamedTensors&)>& change) {
    tensor::NamedTensors tensors;
    const tensor::SafetensorsFile file(folder / "model.safetensors");
    for (const std::string& name : file.names()) tensors[name] = file.copy(name);
    change(tensors);
    tensor::write_safetensors(folder / "model.safetensors", tensors);
  }
  std::string error() const {
    return error_of([&] { const LanguageModel model(folder); });
  }
};

TEST_F(LanguageFiles, NoModelAtAll) {
  EXPECT_CONTAINS(error(), "expected a model folder");
  fs::create_directories(folder);
  EXPECT_CONTAINS(error(), "config.json is missing");
}

TEST_F(LanguageFiles, UnknownFamily) {
  copy("llama2");
  change_config("model_type", "bert");
  EXPECT_CONTAINS(error(),
                  "model_type 'bert' is not one we know: gpt2, incontext, llama, mistral, opt, phi3, qwen2 and qwen3");
}

TEST_F(LanguageFiles, ConfigWithWrongFields) {
  copy("llama2");
  change_config("hidden_size", "wide");
  EXPECT_CONTAINS(error(), "config.json: 'hidden_size': expected a whole number, got \"wide\"");
  change_config("hidden_size", nullptr);
  EXPECT_CONTAINS(error(), "'hidden_size': expected a whole number, got nothing");
  change_config("hidden_size", 32);
  change_config("hidden_act", "gelu");
  EXPECT_CONTAINS(error(), "the activation 'gelu' is not one that our decoder has for this family: silu and swish");
  change_config("hidden_act", "silu");
  change_config("rope_scaling", Json{{"type", "proportional"}});
  EXPECT_CONTAINS(error(), "rope type 'proportional'");
  base::write_file_atomic(folder / "config.json", "{");
  EXPECT_CONTAINS(error(), "config.json: not valid JSON");
}

TEST_F(LanguageFiles, SizesThatTheWeightsDoNotHave) {
  copy("llama2");
  change_config("hidden_size", int64_t{1} << 30);
  EXPECT_CONTAINS(error(), "expected shape");
  change_config("hidden_size", int64_t{1} << 40);
  EXPECT_CONTAINS(error(), "expected sizes from 1 to 2^31");
}

TEST_F(LanguageFiles, MissingAndMismatchedTensors) {
  copy("llama2");
  change_weights([](auto& tensors) { tensors.erase("model.layers.1.mlp.up_proj.weight"); });
  EXPECT_CONTAINS(error(), "tensor 'model.layers.1.mlp.up_proj.weight' is missing");
  copy("llama2");
  change_weights([](auto& tensors) { tensors["model.norm.weight"] = torch::zeros({31}); });
  EXPECT_CONTAINS(error(), "tensor 'norm.weight' of the llama model: expected shape [32], got [31]");
  copy("llama2");
  change_weights([](auto& tensors) { tensors["model.norm.weight"] = torch::zeros({32}, torch::kInt64); });
  EXPECT_CONTAINS(error(), "tensor 'model.norm.weight': expected float32, float16 or bfloat16");
}

TEST_F(LanguageFiles, TruncatedAndMissingShards) {
  copy("llama2");
  fs::resize_file(folder / "model.safetensors", fs::file_size(folder / "model.safetensors") - 1);
  EXPECT_CONTAINS(error(), "model.safetensors");
  fs::remove(folder / "model.safetensors");
  EXPECT_CONTAINS(error(), "expected model.safetensors or model.safetensors.index.json");
  base::write_file_atomic(folder / "pytorch_model.bin", "");
  EXPECT_CONTAINS(error(), "convert it to safetensors");
  base::write_file_atomic(folder / "model.safetensors.index.json",
                          R"({"weight_map": {"lm_head.weight": "../model.safetensors"}})");
  EXPECT_CONTAINS(error(), "expected a file in this folder");
  base::write_file_atomic(folder / "model.safetensors.index.json",
                          R"({"weight_map": {"lm_head.weight": "model-1.safetensors"}})");
  EXPECT_CONTAINS(error(), "the shard 'model-1.safetensors'");
}

TEST_F(LanguageFiles, QuantisedWeightsAreRefused) {
  copy("llama2");
  change_config("quantization_config", Json{{"quant_method", "gptq"}});
  EXPECT_CONTAINS(error(), "quantised weights are not supported");
}

TEST_F(LanguageFiles, TensorsNobodyAskedForAreTold) {
  copy("llama2");
  change_weights([](auto& tensors) { tensors["model.layers.0.extra.weight"] = torch::zeros({2}); });
  EXPECT_EQ(LanguageModel(folder).unread(), std::vector<std::string>{"model.layers.0.extra.weight"});
}

torch::Tensor logits_of(const fs::path& folder) {
  const LanguageModel model(folder);
  cache::SequenceState state;
  state.cache = cache::make_cache({.kind = "full"}, model.cache_shape(8));
  Step step;
  step.sequences = {{&state, 3}};
  return model.logits({5, 6, 7}, step, {0, 1, 2});
}

// llama2's head is its own; with tie_word_embeddings transformers still reads it.
TEST_F(LanguageFiles, AHeadOfOtherValuesIsUsedWhateverTheConfigSays) {
  copy("llama2");
  const torch::Tensor expected = logits_of(folder);
  EXPECT_TRUE(LanguageModel(folder).notes().empty());
  change_config("tie_word_embeddings", true);
  EXPECT_TRUE(torch::equal(logits_of(folder), expected));
  const LanguageModel untied(folder);
  EXPECT_FALSE(untied.config().options.tokens.tied_embeddings);
  ASSERT_EQ(untied.notes().size(), 1U);
  EXPECT_CONTAINS(untied.notes()[0],
                  "'lm_head.weight' holds other values than 'model.embed_tokens.weight': it is used");
  // The same values twice, and one of the two alone, are tied.
  change_weights([](auto& tensors) { tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone(); });
  const torch::Tensor tied = logits_of(folder);
  EXPECT_FALSE(torch::equal(tied, expected));
  EXPECT_TRUE(LanguageModel(folder).config().options.tokens.tied_embeddings);
  EXPECT_TRUE(LanguageModel(folder).notes().empty());
  for (const char* left_out : {"lm_head.weight", "model.embed_tokens.weight"}) {
    copy("llama2");
    change_config("tie_word_embeddings", true);
    change_weights([&](auto& tensors) {
      tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone();
      tensors.erase(left_out);
    });
    EXPECT_TRUE(torch::equal(logits_of(folder), tied)) << left_out;
  }
}

// What a merge of shards leaves behind: the index says which of two counts.
TEST_F(LanguageFiles, OfATensorInTwoShardsTheIndexDecides) {
  copy("mistral");
  const torch::Tensor expected = logits_of(folder);
  const Json index = Json::parse(base::read_file(folder / "model.safetensors.index.json"));
  const std::string name = "model.norm.weight";
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string file = entry.path().filename().string();
    if (entry.path().extension() != ".safetensors" || file == index["weight_map"][name]) continue;
    tensor::NamedTensors tensors;
    {
      const tensor::SafetensorsFile shard(entry.path());
      for (const std::string& each : shard.names()) tensors[each] = shard.copy(each);
    }
    tensors[name] = torch::zeros({32});
    tensor::write_safetensors(entry.path(), tensors);
  }
  EXPECT_TRUE(torch::equal(logits_of(folder), expected));
  Json without = index;
  without["weight_map"].erase(name);
  base::write_file_atomic(folder / "model.safetensors.index.json", without.dump());
  EXPECT_CONTAINS(error(), "tensor 'model.norm.weight' is in two shards, and the index names neither");
}

TEST_F(LanguageFiles, FingerprintsTellModelsApart) {
  copy("llama2");
  const std::string before = LanguageModel(folder).fingerprint();
  EXPECT_EQ(LanguageModel(folder).fingerprint(), before);
  EXPECT_NE(LanguageModel(folder, torch::kCPU, {.precision = kernels::Precision::bf16}).fingerprint(), before);
  change_weights([](auto& tensors) { tensors["model.norm.weight"][0] += 1; });
  EXPECT_NE(LanguageModel(folder).fingerprint(), before);
}

}  // namespace
}  // namespace incontext::models
