#include "models/language_folder.h"

#include <gtest/gtest.h>

#include "cache/kind.h"
#include "models/language_model.h"
#include "models/small_llama.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "support/tensor_close.h"
#include "tensor/safetensors.h"

namespace incontext::models {
namespace {

DecoderOptions llama() { return testing::small_llama(/*vocabulary=*/50, /*context=*/24); }

LanguageFolderOptions folder_options() {
  LanguageFolderOptions options;
  options.eos_id = 7;
  return options;
}

// What was trained is what `generate` computes: whole sequences against the cache, through the files.
TEST(LanguageFolder, OpensAsTheModelThatWasSaved) {
  for (const bool tied : {false, true}) {
    DecoderOptions options = llama();
    options.tokens.tied_embeddings = tied;
    const Decoder decoder(options, 0, 3, torch::kCPU);
    const testing::TemporaryDirectory folder;
    save_language_folder(decoder, folder.path(), folder_options());
    const LanguageModel opened(folder.path());
    EXPECT_EQ(opened.config().model_type, "llama");
    EXPECT_EQ(opened.config().context, 24);
    EXPECT_EQ(opened.config().eos_ids, std::vector<int64_t>{7});
    EXPECT_TRUE(opened.unread().empty());

    const std::vector<int64_t> tokens = {1, 5, 0, 49, 12, 33, 7, 8, 9};
    torch::NoGradGuard no_gradients;
    const torch::Tensor ids = torch::tensor(tokens, torch::kInt64).unsqueeze(0);
    const torch::Tensor expected =
        decoder.head(decoder.final_norm(decoder.run_layers(decoder.embed(ids), 0, options.layers)))[0];
    cache::SequenceState state;
    state.cache = cache::make_cache(cache::parse_policy("full:f32"), opened.cache_shape(24));
    Step step;
    step.sequences = {{&state, static_cast<int64_t>(tokens.size())}};
    std::vector<int64_t> read;
    for (size_t i = 0; i < tokens.size(); ++i) read.push_back(static_cast<int64_t>(i));
    EXPECT_TENSORS_CLOSE(opened.logits(tokens, step, read), expected,
                         testing::accumulated(testing::kEpsilonF32, 64, 50));
  }
}

TEST(LanguageFolder, ParametersComeBackBitForBit) {
  const Decoder decoder(llama(), 0, 3, torch::kCPU);
  Decoder other(llama(), 0, 4, torch::kCPU);
  const testing::TemporaryDirectory folder;
  save_language_folder(decoder, folder.path(), folder_options());
  load_language_parameters(other, folder.path());
  for (size_t i = 0; i < other.parameters().size(); ++i) {
    EXPECT_TRUE(torch::equal(other.parameters()[i].tensor, decoder.parameters()[i].tensor))
        << other.parameters()[i].name;
  }
}

// OPT's files as those of its first repositories name them, without "model."; two rows of its positions are no
// parameters of ours.
TEST(LanguageFolder, FilesWithoutTheHeadAreSavedAsTheyWere) {
  const std::filesystem::path golden = std::filesystem::path(INCONTEXT_SOURCE_DIR) / "tests/golden/language/opt";
  const testing::TemporaryDirectory folder, saved;
  std::filesystem::copy_file(golden / "config.json", folder.path() / "config.json");
  const tensor::SafetensorsFile file(golden / "model.safetensors");
  tensor::NamedTensors tensors;
  for (const std::string& name : file.names()) tensors[name.substr(std::string("model.").size())] = file.tensor(name);
  tensor::write_safetensors(folder.path() / "model.safetensors", tensors);

  LanguageModel(folder.path()).save(saved.path());
  const tensor::SafetensorsFile after(saved.path() / "model.safetensors");
  EXPECT_EQ(after.names().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    ASSERT_TRUE(after.contains(name)) << name;
    EXPECT_TRUE(torch::equal(after.tensor(name), tensor)) << name;
  }
}

TEST(LanguageFolder, RefusesAnotherShape) {
  const Decoder decoder(llama(), 0, 3, torch::kCPU);
  const testing::TemporaryDirectory folder;
  save_language_folder(decoder, folder.path(), folder_options());
  DecoderOptions wider = llama();
  wider.mlp.width = 64;
  Decoder other(wider, 0, 4, torch::kCPU);
  EXPECT_CONTAINS(testing::error_of([&] { load_language_parameters(other, folder.path()); }), "layers.0.mlp.gate");
  DecoderOptions deeper = llama();
  deeper.layers = 3;
  Decoder third(deeper, 0, 4, torch::kCPU);
  EXPECT_CONTAINS(testing::error_of([&] { load_language_parameters(third, folder.path()); }),
                  "expected 3 layers, got 2");
}

TEST(LanguageFolder, OnlyLlamas) {
  EXPECT_EQ(family_problem("llama", llama()), "");
  EXPECT_EQ(family_problem("llama", DecoderOptions()), "model.norm.type: expected rms");
  DecoderOptions options = llama();
  options.attention.qk_norm = true;
  EXPECT_EQ(family_problem("llama", options), "model.attention.qk_norm: expected false");
}

}  // namespace
}  // namespace incontext::models
