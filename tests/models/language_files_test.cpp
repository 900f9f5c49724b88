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
  EXPECT_CONTAINS(error(), "model_type 'bert' is not one we know: gpt2, llama, mistral, opt, phi3, qwen2 and qwen3");
}

TEST_F(LanguageFiles, ConfigWithWrongFields) {
  copy("llama2");
  change_config("hidden_size", "wide");
  EXPECT_CONTAINS(error(), "config.json: 'hidden_size': expected a whole number, got \"wide\"");
  change_config("hidden_size", nullptr);
  EXPECT_CONTAINS(error(), "'hidden_size': expected a whole number, got nothing");
  change_config("hidden_size", 32);
  change_config("hidden_act", "gelu");
  EXPECT_CONTAINS(error(), "expected the activation 'silu', got 'gelu'");
  change_config("hidden_act", "silu");
  change_config("rope_scaling", Json{{"type", "dynamic"}, {"factor", 2}});
  EXPECT_CONTAINS(error(), "rope type 'dynamic'");
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
