#include "models/runs.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "models/checkpoint.h"
#include "models/next_tokens.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "support/tensor_close.h"

namespace incontext::models {
namespace {

namespace fs = std::filesystem;
using testing::error_of;

class Runs : public ::testing::Test {
 protected:
  fs::path write(const std::string& name, const std::string& text) const {
    base::make_directories((place_ / name).parent_path());
    base::write_file_atomic(place_ / name, text);
    return place_ / name;
  }
  static Decoder small(uint64_t seed) {
    DecoderOptions options;
    options.width = 8;
    options.layers = 1;
    options.attention.heads = 2;
    options.max_positions = 16;
    return {options, /*input_dims=*/3, seed, torch::kCPU};
  }
  fs::path checkpoint(const std::string& name, uint64_t seed) const {
    base::make_directories(place_ / name);
    save_model(small(seed), place_ / name);
    write(name + "/trainer_state.safetensors", "");
    return place_ / name;
  }

  testing::TemporaryDirectory place_;
};

TEST_F(Runs, ARunIsItsLatestCheckpoint) {
  write("run/config.yaml",
        "seed: 7\ntask: {name: decision_tree, dims: 3, depth: 2}\nobjective: {name: other, margin: 1}\n"
        "training: {precision: bf16, curriculum: {points: {end: 9}}}\n");
  EXPECT_CONTAINS(error_of([&] { find_run(place_ / "run"); }), "run: no checkpoint yet");
  checkpoint("run/checkpoint-000005", 1);
  const fs::path last = checkpoint("run/checkpoint-000120", 2);
  base::make_directories(place_ / "run/.partial-checkpoint-000200");
  base::make_directories(place_ / "run/checkpoint-best");
  for (const fs::path& named : {place_ / "run", place_ / "run/", last, last / ""}) {
    SCOPED_TRACE(named.string());
    const RunFolder found = find_run(named);
    EXPECT_EQ(found.directory, named);
    EXPECT_TRUE(fs::equivalent(found.checkpoint, last));
    EXPECT_EQ(found.step, 120);
    ASSERT_TRUE(found.run.has_value());
    EXPECT_EQ(found.run->seed, 7u);
    EXPECT_EQ(found.run->task.name, tasks::TaskName::decision_tree);
    EXPECT_EQ(found.run->task.depth, 2);
    EXPECT_EQ(found.run->objective, "other");
    EXPECT_EQ(found.run->precision, TrainingPrecision::bf16);
    EXPECT_EQ(found.run->points, 9);
    EXPECT_TRUE(
        open_decoder(found.checkpoint, torch::kCPU).parameters()[0].tensor.equal(small(2).parameters()[0].tensor));
  }
  EXPECT_EQ(find_run(place_ / "run/checkpoint-000005").step, 5);
}

TEST_F(Runs, TheObjectiveOfOlderRunsIsThatOfTheirTask) {
  checkpoint("functions/checkpoint-000001", 1);
  write("functions/config.yaml", "task: {dims: 3}\n");
  EXPECT_EQ(find_run(place_ / "functions").run->objective, "regression");
  checkpoint("text/checkpoint-000001", 1);
  write("text/config.yaml", "task: {name: text, text: {files: [a.txt]}}\n");
  EXPECT_EQ(find_run(place_ / "text").run->objective, "text");
  write("text/config.yaml", "objective: text\ntask: {name: texd}\n");
  EXPECT_CONTAINS(error_of([&] { find_run(place_ / "text"); }), "config.yaml:2: task.name: expected one of");
}

TEST_F(Runs, AModelFolderMaySayHowItWasTrained) {
  base::make_directories(place_ / "ours");
  save_model(small(3), place_ / "ours");
  const RunFolder plain = find_run(place_ / "ours");
  EXPECT_FALSE(plain.run.has_value());
  EXPECT_EQ(plain.step, 0);
  save_model(small(3), place_ / "ours", {{"run", {{"seed", 4}, {"task", {{"dims", 3}}}}}});
  const RunFolder told = find_run(place_ / "ours");
  ASSERT_TRUE(told.run.has_value());
  EXPECT_EQ(told.run->seed, 4u);
  EXPECT_EQ(told.run->objective, "regression");
}

TEST_F(Runs, FamiliesOpenAsDecoders) {
  const fs::path folder = fs::path(INCONTEXT_SOURCE_DIR) / "tests/golden/language/llama2";
  const Decoder decoder = open_decoder(folder, torch::kCPU);
  EXPECT_GT(decoder.options().tokens.vocabulary, 0);
  for (const NamedTensor& parameter : decoder.parameters()) {
    EXPECT_TRUE(parameter.tensor.requires_grad()) << parameter.name;
    EXPECT_EQ(parameter.tensor.scalar_type(), torch::kFloat32) << parameter.name;
  }
  Decoder other(decoder.options(), 0, /*seed=*/9, torch::kCPU);
  const torch::Tensor tokens = torch::arange(12, torch::kInt64).view({2, 6});
  const auto loss_of = [&](const Decoder& which) { return next_token_loss(which, tokens).item<double>(); };
  EXPECT_NE(loss_of(other), loss_of(decoder));
  load_weights(other, folder);
  EXPECT_EQ(loss_of(other), loss_of(decoder));
  EXPECT_EQ(next_token_losses(decoder, tokens).sizes(), (std::vector<int64_t>{2, 5}));
  EXPECT_NEAR(next_token_losses(decoder, tokens).mean().item<double>(), loss_of(decoder), 1e-5);
  EXPECT_FALSE(find_run(folder).run.has_value());
}

TEST_F(Runs, WhatIsNoneOfTheseIsAnError) {
  EXPECT_CONTAINS(error_of([&] { find_run(place_ / "nowhere"); }), "nowhere: no such directory");
  EXPECT_CONTAINS(error_of([&] { find_run(place_.path()); }), "not a run directory: config.yaml is missing");
  EXPECT_CONTAINS(error_of([&] { open_decoder(place_.path(), torch::kCPU); }), "config.json is missing");
  write("odd/config.json", "{\"model_type\": \"odd\"}");
  EXPECT_CONTAINS(error_of([&] { open_decoder(place_ / "odd", torch::kCPU); }), "'odd' is not one we know");
}

TEST_F(Runs, FoldersOfCheckpoints) {
  for (const char* name : {"run/checkpoint-000003", "run/checkpoint-000020", "run/checkpoint-000100"})
    checkpoint(name, 1);
  base::make_directories(place_ / "run/.partial-checkpoint-000101");
  EXPECT_EQ(latest_checkpoint(place_ / "run"), place_ / "run/checkpoint-000100");
  EXPECT_EQ(model_folder_of(place_ / "run"), place_ / "run/checkpoint-000100");
  EXPECT_EQ(model_folder_of(place_ / "run/checkpoint-000003"), place_ / "run/checkpoint-000003");
  EXPECT_EQ(model_folder_of(place_ / "nowhere"), place_ / "nowhere");
  EXPECT_EQ(latest_checkpoint(place_ / "nowhere"), std::nullopt);
  prune_checkpoints(place_ / "run", 2);
  EXPECT_FALSE(fs::exists(place_ / "run/checkpoint-000003"));
  EXPECT_TRUE(fs::exists(place_ / "run/checkpoint-000020"));
  EXPECT_FALSE(fs::exists(place_ / "run/.partial-checkpoint-000101"));
}

}  // namespace
}  // namespace incontext::models
