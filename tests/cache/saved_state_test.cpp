#include "cache/saved_state.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::cache {
namespace {

using testing::error_of;

constexpr CacheShape kSavedShape{.layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 8, .capacity = 700};
constexpr int64_t kWidth = kSavedShape.kv_heads * kSavedShape.head_dim;

std::shared_ptr<const CacheKind> kind(const std::string& policy) {
  return open_kind(parse_policy(policy), {.shape = kSavedShape});
}

SequenceState example(const CacheKind& kind) {
  SequenceState state;
  state.cache = kind.make(kSavedShape);
  std::vector<float> rows(333 * kWidth);
  base::RandomStream(1, "saved", 0).fill_normal(rows);
  for (int64_t layer = 0; layer < kSavedShape.layers; ++layer) {
    state.cache->append(layer, {rows.data(), kWidth}, {rows.data() + 7, kWidth}, 332);
  }
  for (int64_t token = 0; token < 332; ++token) state.tokens.push_back(token * 3);
  state.layers.resize(3);
  state.layers[2].tensors["mean"] = torch::arange(5, torch::kFloat32);
  state.rope_epoch = 1;
  return state;
}

std::vector<float> attended(const SequenceState& state) {
  std::vector<float> queries(32, 0.25F), out(32);
  state.cache->attend(1, {queries.data(), 32}, 1, {.scale = 0.3F}, out.data(), 32);
  return out;
}

TEST(SavedState, ComesBackBitForBit) {
  const testing::TemporaryDirectory place;
  for (const char* policy : {"full", "full:bf16", "full:f32"}) {
    const SequenceState state = example(*kind(policy));
    const auto file = place / policy;
    save_state(state, file, "model-1");
    const auto back = load_state(file, "model-1", *kind(policy), kSavedShape);
    EXPECT_EQ(back->tokens, state.tokens);
    EXPECT_EQ(back->rope_epoch, 1);
    EXPECT_EQ(back->cache->length(), 332);
    EXPECT_EQ(attended(*back), attended(state));
    ASSERT_EQ(back->layers.size(), 3U);
    EXPECT_TRUE(back->layers[0].empty());
    EXPECT_TRUE(torch::equal(back->layers[2].tensors.at("mean"), state.layers[2].tensors.at("mean")));
  }
}

TEST(SavedState, RefusesFilesOfOthersAndDamagedOnes) {
  const testing::TemporaryDirectory place;
  const auto file = place / "state";
  save_state(example(*kind("full:bf16")), file, "model-1");
  const auto refusal = [&](const char* fingerprint, const char* policy, const CacheShape& shape) {
    return error_of([&] { load_state(file, fingerprint, *kind(policy), shape); });
  };
  EXPECT_CONTAINS(refusal("model-2", "full:bf16", kSavedShape), "expected fingerprint 'model-2', got 'model-1'");
  EXPECT_CONTAINS(refusal("model-1", "full", kSavedShape), "expected policy 'full', got 'full:bf16'");
  CacheShape narrow = kSavedShape;
  narrow.kv_heads = 1;
  EXPECT_CONTAINS(refusal("model-1", "full:bf16", narrow), "layers.0.keys");
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 100);
  EXPECT_CONTAINS(refusal("model-1", "full:bf16", kSavedShape), file.string());
}

TEST(SequenceStates, ThoseThatCannotBeCutForkWhole) {
  SequenceState state = example(*kind("full"));
  EXPECT_FALSE(state.can_truncate());
  EXPECT_CONTAINS(error_of([&] { state.fork(100, 400); }), "expected exactly 332 tokens, got 100");
  const auto whole = state.fork(332, 400);
  EXPECT_EQ(whole->position(), 332);
  whole->layers[2].tensors["mean"].add_(1);
  EXPECT_EQ(state.layers[2].tensors["mean"][0].item<float>(), 0) << "a fork has memory of its own";
  state.layers[2].tensors.clear();
  EXPECT_TRUE(state.can_truncate());
  EXPECT_EQ(state.fork(100, 400)->cache->length(), 100);
}

}  // namespace
}  // namespace incontext::cache
