// Every family that is opened can be trained: from its folder, into folders of the same family.

#include <gtest/gtest.h>

#include "base/file.h"
#include "models/json_fields.h"
#include "models/language_folder.h"
#include "models/language_model.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "tensor/safetensors.h"
#include "text/byte_tokenizer.h"
#include "train/run.h"

namespace incontext::train {
namespace {

namespace fs = std::filesystem;
using base::Json;

// The config.json of a golden folder for a model that reads bytes, with small random weights.
fs::path make_folder(const testing::TemporaryDirectory& place, const std::string& golden) {
  const fs::path folder = place / golden;
  base::make_directories(folder);
  Json json = models::read_json(fs::path(INCONTEXT_SOURCE_DIR) / "tests/golden/language" / golden / "config.json");
  json["vocab_size"] = 260;
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) json[key] = 256;
  base::write_file_atomic(folder / "config.json", json.dump(2));
  const models::LanguageConfig config = models::read_language_config(folder);
  const models::Decoder decoder(config.options, 0, /*seed=*/5, torch::kCPU);
  models::save_language_folder(decoder, folder, {.family = config.model_type, .config = config.json});
  base::write_file_atomic(folder / "tokenizer.json", text::byte_tokenizer_json());
  base::write_file_atomic(folder / "tokenizer_config.json", text::byte_tokenizer_config_json());
  return folder;
}

RunOptions options_for(const fs::path& folder, const fs::path& text, int64_t steps) {
  RunOptions options;
  options.task.name = tasks::TaskName::text;
  options.task.text.files = {text.string()};
  options.task.text.context = 24;
  options.training.initial_weights = folder.string();
  options.training.steps = steps;
  options.training.batch_size = 4;
  options.training.learning_rate = 3e-3;
  options.training.checkpoint_every = 4;
  options.training.keep_checkpoints = 10;
  return options;
}

class FamiliesTrain : public ::testing::TestWithParam<std::string> {};

TEST_P(FamiliesTrain, FromAFolderIntoFoldersOfTheSameFamily) {
  const testing::TemporaryDirectory place;
  const fs::path folder = make_folder(place, GetParam());
  std::string lines;
  for (int i = 0; i < 60; ++i) lines += "one two three four five six seven\n";
  base::write_file_atomic(place / "text.txt", lines);
  const auto train = [&](const char* out, int64_t steps, bool resume) {
    return run_training(options_for(folder, place / "text.txt", steps),
                        {.directory = place / out, .resume = resume, .quiet = true}, torch::kCPU, {});
  };
  const RunResult whole = train("whole", 8, false);
  train("parts", 4, false);
  const RunResult resumed = train("parts", 8, true);
  EXPECT_EQ(resumed.first_step, 4);

  const models::LanguageConfig before = models::read_language_config(folder);
  const models::LanguageModel after(whole.checkpoint);
  EXPECT_EQ(after.config().model_type, before.model_type);
  EXPECT_EQ(after.config().context, before.context);
  EXPECT_TRUE(after.unread().empty());
  // The same config.json, but for the type of the numbers.
  Json was = before.json, is = after.config().json;
  for (Json* json : {&was, &is}) {
    json->erase("torch_dtype");
    json->erase("dtype");
  }
  EXPECT_EQ(was, is);
  // The same tensors under the same names, bit for bit those of the run without an interruption, and trained.
  const tensor::SafetensorsFile first(folder / "model.safetensors"), last(whole.checkpoint / "model.safetensors"),
      parts(resumed.checkpoint / "model.safetensors");
  ASSERT_EQ(first.names().size(), last.names().size());
  int64_t moved = 0;
  for (const std::string& name : first.names()) {
    EXPECT_TRUE(torch::equal(last.tensor(name), parts.tensor(name))) << name;
    moved += torch::equal(last.tensor(name), first.tensor(name)) ? 0 : 1;
  }
  EXPECT_EQ(moved, static_cast<int64_t>(first.names().size()));
}

INSTANTIATE_TEST_SUITE_P(All, FamiliesTrain,
                         ::testing::Values("llama2", "llama31", "llama_biases", "mistral", "qwen2", "qwen2_layer_types",
                                           "qwen3", "phi3", "opt", "opt_post_norm", "gpt2", "gpt2_scaled"),
                         [](const auto& tested) { return tested.param; });

TEST(TextModels, WithOtherMixersOrNormsAreOfOurOwnFamily) {
  const testing::TemporaryDirectory place;
  base::write_file_atomic(place / "text.txt", std::string(4000, 'a'));
  RunOptions options = options_for({}, place / "text.txt", 2);
  options.training.initial_weights.clear();
  options.model.width = 16;
  options.model.layers = 2;
  options.model.attention.heads = 2;
  options.model.mlp.type.assign({models::MlpType::relu, models::MlpType::none});
  const RunResult result = run_training(options, {.directory = place / "run", .quiet = true}, torch::kCPU, {});
  const models::LanguageModel model(result.checkpoint);
  EXPECT_EQ(model.config().model_type, "incontext");
  EXPECT_EQ(model.config().context, 24);
}

}  // namespace
}  // namespace incontext::train
