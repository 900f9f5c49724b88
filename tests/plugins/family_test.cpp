// A family of language models that lives outside of src: GPT-2's layers with rotary positions, under names of its own.

#include <gtest/gtest.h>

#include "base/file.h"
#include "decode/engine.h"
#include "models/families/family.h"
#include "models/language_folder.h"
#include "models/language_model.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "tensor/safetensors.h"

namespace incontext::models {
namespace {

using base::Json;
using torch::Tensor;

void read_toy(const JsonFields& json, LanguageConfig& config) {
  DecoderOptions& options = config.options;
  options.width = json.integer("d_model");
  options.layers = json.integer("n_blocks");
  options.attention.heads = json.integer("n_heads");
  options.tokens.vocabulary = json.integer("vocab_size");
  options.max_positions = json.integer("context");
  options.position = PositionType::rotary;
  options.bias = false;
  options.mlp.type = MlpType::relu;
  config.context = options.max_positions;
}

const bool kFamilyRegistered = [] {
  Family family;
  family.name = "toy";
  family.architecture = "ToyForCausalLM";
  family.defaults = {{"d_model", 32}, {"n_blocks", 2}, {"n_heads", 4}, {"vocab_size", 50}, {"context", 64}};
  family.read = read_toy;
  family.tensors = {{"tokens", {"embedding"}},
                    {"final", {"norm"}},
                    {"unembed", {"head"}},
                    {"blocks.N.first_norm", {"layers.N.norm1"}},
                    {"blocks.N.second_norm", {"layers.N.norm2"}},
                    {"blocks.N.kqv", {"layers.N.attention.k", "layers.N.attention.q", "layers.N.attention.v"}, true},
                    {"blocks.N.mix", {"layers.N.attention.out"}},
                    {"blocks.N.up", {"layers.N.mlp.up"}},
                    {"blocks.N.down", {"layers.N.mlp.down"}, true}};
  families().add(std::move(family));
  return true;
}();

class FamilyPlugin : public ::testing::Test {
 protected:
  FamilyPlugin() {
    torch::manual_seed(3);
    tensor::NamedTensors tensors;
    const auto add = [&](const std::string& name, torch::IntArrayRef shape) {
      tensors[name] = (torch::randn(shape) * 0.3).to(torch::kBFloat16);
    };
    add("tokens.weight", {50, 32});
    add("unembed.weight", {50, 32});
    for (const std::string norm :
         {"final", "blocks.0.first_norm", "blocks.0.second_norm", "blocks.1.first_norm", "blocks.1.second_norm"}) {
      add(norm + ".weight", {32});
      add(norm + ".bias", {32});
    }
    for (const std::string block : {"blocks.0.", "blocks.1."}) {
      add(block + "kqv.weight", {32, 96});
      add(block + "mix.weight", {32, 32});
      add(block + "up.weight", {128, 32});
      add(block + "down.weight", {128, 32});
    }
    tensor::write_safetensors(folder_ / "model.safetensors", tensors, {{"format", "pt"}});
    base::write_file_atomic(folder_ / "config.json", Json{{"model_type", "toy"}, {"n_blocks", 2}}.dump());
  }

  std::vector<int64_t> generate(const LanguageModel& model) const {
    decode::Engine engine(model, {});
    std::vector<int64_t> tokens;
    decode::GenerationRequest request;
    request.prompt = {1, 5, 49, 12, 33};
    request.max_tokens = 20;
    request.sampling.temperature = 0;
    engine.submit(std::move(request), {.on_token = [&](const decode::Choice& choice) {
                    tokens.push_back(choice.token);
                    return true;
                  }});
    engine.finish();
    return tokens;
  }

  testing::TemporaryDirectory folder_;
};

TEST_F(FamilyPlugin, IsOpenedGeneratedFromAndSaved) {
  const LanguageModel model(folder_.path());
  EXPECT_TRUE(model.unread().empty());
  EXPECT_EQ(generate(model).size(), 20U);
  // The rows of its fused matrix are where its rule says: keys first.
  const Tensor fused = tensor::SafetensorsFile(folder_ / "model.safetensors").tensor("blocks.1.kqv.weight");
  for (const NamedTensor& parameter : model.decoder().parameters()) {
    if (parameter.name != "layers.1.attention.q.weight") continue;
    EXPECT_TRUE(torch::equal(parameter.tensor, fused.t().narrow(0, 32, 32)));
  }
  const testing::TemporaryDirectory copy;
  model.save(copy.path());
  const tensor::SafetensorsFile before(folder_ / "model.safetensors"), after(copy / "model.safetensors");
  ASSERT_EQ(after.names().size(), before.names().size());
  for (const std::string& name : before.names()) {
    EXPECT_EQ(after.tensor(name).scalar_type(), torch::kBFloat16) << name;
    EXPECT_TRUE(torch::equal(after.tensor(name), before.tensor(name))) << name;
  }
  EXPECT_EQ(generate(LanguageModel(copy.path())), generate(model));
}

TEST_F(FamilyPlugin, TrainsFromItsFolder) {
  LanguageConfig config = read_language_config(folder_.path());
  const WeightFiles files(folder_.path());
  Decoder decoder(config.options, 0, trained_weights(config, files, torch::kCPU), torch::kCPU);
  const Tensor ids = torch::tensor({{1, 5, 49, 12}, {2, 3, 4, 5}}, torch::kInt64);
  decoder.head(decoder.final_norm(decoder.run_layers(decoder.embed(ids), 0, 2))).square().mean().backward();
  for (const NamedTensor& parameter : decoder.parameters()) {
    EXPECT_TRUE(parameter.tensor.grad().defined()) << parameter.name;
  }
  const testing::TemporaryDirectory copy;
  save_language_folder(decoder, copy.path(), {.family = "toy", .config = config.json});
  const tensor::SafetensorsFile before(folder_ / "model.safetensors"), after(copy / "model.safetensors");
  for (const std::string& name : before.names()) {
    EXPECT_TRUE(torch::equal(after.tensor(name), before.tensor(name).to(torch::kFloat32))) << name;
  }
}

TEST_F(FamilyPlugin, UnknownKeysAreRefusedByName) {
  base::write_file_atomic(folder_ / "config.json", Json{{"model_type", "toy"}, {"twist", 2}}.dump());
  EXPECT_CONTAINS(testing::error_of([&] { read_language_config(folder_.path()); }),
                  "'twist' is 2, which we do not know: it may change what the family toy computes");
}

}  // namespace
}  // namespace incontext::models
