#include "calibrate/recording.h"

#include <gtest/gtest.h>

#include "cache/kinds/full.h"
#include "support/errors.h"
#include "support/tensor_close.h"
#include "tensor/safetensors.h"

namespace incontext::calibrate {
namespace {

using torch::Tensor;

std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(INCONTEXT_SOURCE_DIR) / "tests/golden/language" / name;
}

std::vector<int64_t> some_tokens(int64_t count) {
  std::vector<int64_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back((i * i + 7 * i + 3) % 96);
  return tokens;
}

/// One text through a full cache: every token's logits, and the hidden states before each layer.
struct Reading {
  std::unique_ptr<cache::SequenceState> state;
  Tensor logits;
  std::vector<Tensor> hidden;
};

Reading read_text(const models::LanguageModel& model, const std::vector<int64_t>& tokens) {
  const torch::NoGradGuard no_gradient;
  Reading reading;
  const auto count = static_cast<int64_t>(tokens.size());
  const auto kind = cache::open_kind(cache::parse_policy("full:f32"), model.cached_model());
  reading.state = model.decoder().new_sequence(*kind, count);
  models::Step step;
  step.sequences.push_back({reading.state.get(), count});
  step.hook = [&](const models::Boundary&, Tensor& hidden) { reading.hidden.push_back(hidden.clone()); };
  std::vector<int64_t> read(tokens.size());
  for (size_t i = 0; i < read.size(); ++i) read[i] = static_cast<int64_t>(i);
  reading.logits = model.logits(tokens, step, read);
  return reading;
}

TEST(Recording, HoldsWhatAFullCacheHolds) {
  // Layer 1 has keys and values of its own only if layer 0 attends as it does with a full cache.
  for (const char* name : {"llama2", "qwen3", "mistral", "gpt2"}) {
    SCOPED_TRACE(name);
    const models::LanguageModel model(golden(name));
    const cache::CacheShape shape = model.cache_shape(0);
    constexpr int64_t kContext = 24;
    const std::vector<int64_t> tokens = some_tokens(60);
    const Tensor before = read_text(model, tokens).logits;
    const Recording recording = record(model, tokens, kContext);
    EXPECT_TRUE(torch::equal(read_text(model, tokens).logits, before)) << "the model is as it was";
    EXPECT_EQ(recording.tokens, 60);
    ASSERT_EQ(static_cast<int64_t>(recording.layers.size()), shape.layers);
    for (int64_t first = 0; first < 60; first += kContext) {
      const int64_t count = std::min<int64_t>(kContext, 60 - first);
      const Reading reading = read_text(model, {tokens.begin() + first, tokens.begin() + first + count});
      const auto& cache = static_cast<const cache::FullCache&>(*reading.state->cache);
      for (int64_t layer = 0; layer < shape.layers; ++layer) {
        Tensor keys = torch::empty({count, shape.kv_heads, shape.head_dim}), values = torch::empty_like(keys);
        cache.read(layer, 0, count, keys.data_ptr<float>(), values.data_ptr<float>());
        const RecordedLayer& recorded = recording.layers[static_cast<size_t>(layer)];
        EXPECT_TRUE(torch::equal(recorded.keys.narrow(0, first, count), keys.to(torch::kFloat16)));
        EXPECT_TRUE(torch::equal(recorded.values.narrow(0, first, count), values.to(torch::kFloat16)));
      }
    }
  }
}

TEST(Recording, SumsTheSquaresOfQueries) {
  const models::LanguageModel model(golden("llama2"));
  const tensor::SafetensorsFile file(golden("llama2") / "model.safetensors");
  const int64_t heads = 4, head_dim = 8;
  const std::vector<int64_t> tokens = some_tokens(40);
  /// Queries before their rotation, from the hidden states before a layer.
  const auto queries_of = [&](int64_t layer, const Tensor& hidden) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    const Tensor normed =
        hidden * torch::rsqrt(hidden.square().mean(1, true) + 1e-5) * file.copy(prefix + "input_layernorm.weight");
    return normed.matmul(file.copy(prefix + "self_attn.q_proj.weight").t()).reshape({-1, heads, head_dim});
  };
  const testing::Tolerance tolerance{.absolute = 1e-6, .relative = 1e-4};
  // A text of one token has no rotation.
  const Recording alone = record(model, tokens, 1);
  // In longer ones it moves squares between the two channels that it turns.
  const Recording together = record(model, tokens, 40);
  const auto folded = [&](const Tensor& squares) {
    return squares.narrow(0, 0, head_dim / 2) + squares.narrow(0, head_dim / 2, head_dim / 2);
  };
  const Reading reading = read_text(model, tokens);
  for (int64_t layer = 0; layer < 2; ++layer) {
    SCOPED_TRACE(layer);
    const auto at = static_cast<size_t>(layer);
    Tensor squares = torch::zeros({head_dim}, torch::kFloat64);
    for (const int64_t token : tokens) {
      const Tensor hidden = read_text(model, {token}).hidden[at];
      squares += queries_of(layer, hidden).to(torch::kFloat64).square().mean(1)[0] / 40;
    }
    EXPECT_TENSORS_CLOSE(alone.layers[at].query_squares, squares, tolerance);
    const Tensor all = queries_of(layer, reading.hidden[at]).to(torch::kFloat64).square().mean(c10::IntArrayRef{0, 1});
    EXPECT_TENSORS_CLOSE(folded(together.layers[at].query_squares), folded(all), tolerance);
  }
}

TEST(Recording, LongTextsAreReadInParts) {
  // More than a step takes, in one window: as many tokens as the context allows.
  const models::LanguageModel model(golden("llama2"));
  const std::vector<int64_t> tokens = some_tokens(600);
  std::vector<int64_t> told;
  const Recording recording = record(model, tokens, 256, [&](int64_t read) {
    told.push_back(read);
    return true;
  });
  EXPECT_EQ(told, (std::vector<int64_t>{256, 512, 600}));
  EXPECT_EQ(recording.tokens, 600);
  // Told to stop, it returns what was read by then, with the same bits.
  const Recording stopped = record(model, tokens, 256, [](int64_t read) { return read < 500; });
  EXPECT_EQ(stopped.tokens, 512);
  EXPECT_TRUE(torch::equal(stopped.layers[1].keys, recording.layers[1].keys.narrow(0, 0, 512)));
  EXPECT_CONTAINS(testing::error_of([&] { record(model, tokens, 257); }), "windows of 1 to 256 tokens");
  EXPECT_CONTAINS(testing::error_of([&] { record(model, tokens, 0); }), "got 0");
}

}  // namespace
}  // namespace incontext::calibrate
