#include "cache/kinds/evicting.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/random.h"
#include "cache/kinds/snapkv.h"
#include "kind_promises.h"
#include "support/errors.h"

namespace incontext::cache {
namespace {

using testing::error_of;

CacheShape evicting_shape(int64_t head_dim, int64_t group, int64_t kv_heads = 2) {
  return {.layers = 2, .heads = group * kv_heads, .kv_heads = kv_heads, .head_dim = head_dim, .capacity = 700};
}

std::shared_ptr<const EvictingKind> open_evicting(const std::string& policy, const CacheShape& shape) {
  return std::dynamic_pointer_cast<const EvictingKind>(open_kind(parse_policy(policy), {.shape = shape}));
}

std::vector<float> normal_rows(int64_t count, uint64_t index) {
  std::vector<float> rows(static_cast<size_t>(count));
  base::RandomStream(11, "evicting", index).fill_normal(rows);
  return rows;
}

const EvictingCache& evicting(DrivenCache& driven) { return static_cast<const EvictingCache&>(driven.cache()); }

/// Positions that a KV head of a cache holds, found by their values, which all differ.
std::set<int64_t> held_positions(const FullCache& all, const FullCache& kept, int64_t layer, int64_t head) {
  const int64_t width = all.shape().kv_heads * all.shape().head_dim;
  const auto values_of = [&](const FullCache& cache) {
    std::vector<float> keys(static_cast<size_t>(cache.length(layer) * width)), values(keys);
    cache.read(layer, 0, cache.length(layer), keys.data(), values.data());
    for (size_t i = 0; i < values.size(); ++i) values[i] += 1000 * keys[i];
    return values;
  };
  const std::vector<float> there = values_of(all), here = values_of(kept);
  std::set<int64_t> positions;
  for (int64_t slot = 0; slot < kept.length(layer); ++slot) {
    const float* row = here.data() + slot * width + head * all.shape().head_dim;
    for (int64_t position = 0; position < all.length(layer); ++position) {
      if (std::equal(row, row + all.shape().head_dim, there.data() + position * width + head * all.shape().head_dim)) {
        positions.insert(position);
      }
    }
  }
  EXPECT_EQ(static_cast<int64_t>(positions.size()), kept.length(layer));
  return positions;
}

TEST(EvictingKinds, KeepWhatEveryKindPromises) {
  for (const auto& [head_dim, group] : {std::pair<int64_t, int64_t>{64, 1}, {32, 3}, {80, 8}}) {
    const CacheShape shape = evicting_shape(head_dim, group);
    for (const char* policy : {"snapkv", "snapkv:budget=120,window=8,sinks=4,exact_layers=0", "random:tail=40"}) {
      check_promises(open_evicting(policy, shape), shape, 300, Filling::by_prompt);
    }
  }
}

TEST(EvictingKinds, PartsOfAPromptChangeNothingThatIsKept) {
  const CacheShape shape = evicting_shape(32, 3);
  DrivenCache whole(open_evicting("snapkv", shape), shape), parts(open_evicting("snapkv", shape), shape);
  whole.read_prompt(300, 300);
  parts.decode(285, 45);
  // A prompt that begins with these tokens goes on from a copy with the same bits, queries included.
  DrivenCache copied(open_evicting("snapkv", shape), shape);
  copied.take(parts.cache().copy_prefix(285, 700));
  copied.decode(14, 7);
  copied.read_prompt(1, 1);
  EXPECT_FALSE(copied.cache().serves_prompts());
  EXPECT_EQ(copied.decode(20, 1), whole.decode(20, 1));
}

TEST(SnapKv, KeepsWhatALiteralReadingOfThePaperKeeps) {
  constexpr int64_t kPrompt = 200, kWindow = 8, kBudget = 60, kKernel = 5;
  for (const int64_t group : {1, 3}) {
    const CacheShape shape = {.layers = 1, .heads = 2 * group, .kv_heads = 2, .head_dim = 32, .capacity = 400};
    const auto kind =
        open_evicting(fmt::format("snapkv:window={},budget={},kernel={}", kWindow, kBudget, kKernel), shape);
    FullCache all(kind->exact_kind(), shape, kernels::Storage::f16);
    EvictingCache cache(kind, shape);
    const int64_t key_width = 2 * 32, width = shape.heads * 32;
    const std::vector<float> keys = normal_rows(kPrompt * key_width, 1), values = normal_rows(kPrompt * key_width, 2);
    const std::vector<float> queries = normal_rows(kPrompt * width, 3);
    std::vector<float> out(queries.size());
    for (KvCache* each : std::initializer_list<KvCache*>{&all, &cache}) {
      each->append(0, {keys.data(), key_width}, {values.data(), key_width}, kPrompt);
    }
    const float scale = 0.6F;
    cache.attend(0, {queries.data(), width}, kPrompt, {.scale = scale}, out.data(), width);
    // Keys as the cache has them.
    std::vector<float> half_keys(keys.size()), half_values(values.size());
    all.read(0, 0, kPrompt, half_keys.data(), half_values.data());
    cache.end_of_prompt();
    for (int64_t head = 0; head < 2; ++head) {
      const int64_t before = kPrompt - kWindow;
      std::vector<double> mean(static_cast<size_t>(before), 0), pooled(mean);
      for (int64_t q = head * group; q < (head + 1) * group; ++q) {
        for (int64_t position = before; position < kPrompt; ++position) {
          std::vector<double> weights;
          double sum = 0;
          for (int64_t j = 0; j <= position; ++j) {
            double dot = 0;
            for (int64_t d = 0; d < 32; ++d) {
              dot += static_cast<double>(queries[static_cast<size_t>(position * width + q * 32 + d)]) *
                     static_cast<double>(half_keys[static_cast<size_t>(j * key_width + head * 32 + d)]);
            }
            weights.push_back(std::exp(static_cast<double>(scale) * dot));
            sum += weights.back();
          }
          for (size_t j = 0; j < mean.size(); ++j) mean[j] += weights[j] / sum / static_cast<double>(kWindow * group);
        }
      }
      std::vector<std::pair<double, int64_t>> order;
      for (int64_t j = 0; j < before; ++j) {
        for (int64_t i = j - kKernel / 2; i <= j + kKernel / 2; ++i) {
          pooled[static_cast<size_t>(j)] += i < 0 || i >= before ? 0 : mean[static_cast<size_t>(i)] / kKernel;
        }
        order.emplace_back(-pooled[static_cast<size_t>(j)], j);
      }
      std::sort(order.begin(), order.end());
      std::set<int64_t> expected;
      for (int64_t i = 0; i < kBudget - kWindow; ++i) expected.insert(order[static_cast<size_t>(i)].second);
      for (int64_t position = before; position < kPrompt; ++position) expected.insert(position);
      EXPECT_EQ(held_positions(all, cache.exact(), 0, head), expected) << "KV head " << head;
    }
    EXPECT_EQ(cache.length(), kPrompt);
  }
}

TEST(EvictingKinds, HeadsKeepDifferentPositionsAndMemoryFalls) {
  const CacheShape shape{.layers = 2, .heads = 8, .kv_heads = 2, .head_dim = 64, .capacity = 2200};
  for (const char* policy : {"snapkv:budget=512", "random:budget=512", "random:budget=512,seed=3"}) {
    DrivenCache driven(open_evicting(policy, shape), shape),
        full(open_kind(parse_policy("full"), {.shape = shape}), shape);
    full.read_prompt(2000, 2000);
    driven.read_prompt(2000, 2000);
    driven.decode(64, 1);
    const auto& all = static_cast<const FullCache&>(full.cache());
    // Grouped queries share what their KV head keeps: 576 of 2,000 positions, in whole pages.
    EXPECT_EQ(evicting(driven).exact().length(0), 576);
    EXPECT_LE(static_cast<double>(driven.cache().bytes()), static_cast<double>(all.bytes()) * 576 / 2000 + 16 * 4096);
    DrivenCache again(open_evicting(policy, shape), shape);
    again.read_prompt(2000, 512);
    EXPECT_NE(held_positions(all, evicting(again).exact(), 0, 0), held_positions(all, evicting(again).exact(), 0, 1));
  }
}

TEST(EvictingKinds, RandomChoicesKeepTheEndsAndDependOnTheSeed) {
  const CacheShape shape = evicting_shape(32, 1);
  DrivenCache full(open_kind(parse_policy("full"), {.shape = shape}), shape);
  full.read_prompt(300, 300);
  const auto& all = static_cast<const FullCache&>(full.cache());
  std::set<std::set<int64_t>> choices;
  for (const int64_t seed : {0, 1, 2}) {
    DrivenCache driven(open_evicting(fmt::format("random:sinks=5,tail=20,keep=0.3,seed={}", seed), shape), shape);
    driven.read_prompt(300, 300);
    const std::set<int64_t> held = held_positions(all, evicting(driven).exact(), 1, 0);
    EXPECT_EQ(held.size(), 90U);
    for (int64_t position = 0; position < 5; ++position) EXPECT_TRUE(held.contains(position));
    for (int64_t position = 280; position < 300; ++position) EXPECT_TRUE(held.contains(position));
    choices.insert(held);
  }
  EXPECT_EQ(choices.size(), 3U);
}

TEST(EvictingKinds, ShortPromptsLoseNothing) {
  const CacheShape shape = evicting_shape(32, 1);
  DrivenCache driven(open_evicting("snapkv", shape), shape),
      full(open_kind(parse_policy("full"), {.shape = shape}), shape);
  EXPECT_EQ(driven.read_prompt(30, 30), full.read_prompt(30, 30));
  EXPECT_TRUE(driven.cache().serves_prompts());
  EXPECT_EQ(driven.decode(100, 1), full.decode(100, 1));
  EXPECT_FALSE(driven.cache().can_truncate());
  EXPECT_CONTAINS(error_of([&] { driven.cache().truncate(100); }), "cannot be cut to 100 tokens");
  driven.cache().truncate(0);
  DrivenCache fresh(open_evicting("snapkv", shape), shape);
  EXPECT_EQ(driven.read_prompt(250, 250), fresh.read_prompt(250, 250));
  EXPECT_EQ(driven.decode(20, 1), fresh.decode(20, 1));
}

TEST(EvictingKinds, TellTheirBytesBeforehand) {
  const CacheShape shape{.layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 64, .capacity = 3000};
  const auto kind = open_evicting("snapkv:keep=0.1", shape);
  DrivenCache driven(kind, shape);
  driven.decode(2500, 2500);
  EXPECT_LE(driven.cache().bytes(), kind->reading_bytes(shape, 2500));
  EXPECT_GE(driven.cache().bytes(), kind->reading_bytes(shape, 2500) * 9 / 10);
  driven.cache().end_of_prompt();
  driven.decode(500, 50);
  EXPECT_LE(driven.cache().bytes(), kind->bytes_after(shape, 2500));
  EXPECT_GE(driven.cache().bytes(), kind->bytes_after(shape, 2500) * 9 / 10);
}

TEST(EvictingKinds, RefuseWhatTheyCannotBe) {
  const auto refusal = [](const std::string& policy, bool sliding = false) {
    return error_of(
        [&] { open_kind(parse_policy(policy), {.shape = evicting_shape(32, 1), .sliding_window = sliding}); });
  };
  EXPECT_EQ(refusal("snapkv"), "no error");
  EXPECT_CONTAINS(refusal("snapkv", true), "cache policy 'snapkv': a model with sliding windows cannot have it");
  EXPECT_CONTAINS(refusal("snapkv:kernel=4"), "kernel: expected an odd number, got 4");
  EXPECT_CONTAINS(refusal("snapkv:keep=2"), "keep: expected a number from 0 to 1, got '2'");
  EXPECT_CONTAINS(refusal("snapkv:keep=0.5,budget=9"), "expected budget or keep, got both");
  EXPECT_CONTAINS(refusal("snapkv:tail=8"), "tail: expected a whole number from 32");
  EXPECT_CONTAINS(refusal("snapkv:seed=1"), "unknown option 'seed'");
  EXPECT_CONTAINS(refusal("random:window=3"), "unknown option 'window'");
  const auto canonical = [](const std::string& policy) {
    return open_evicting(policy, evicting_shape(32, 1))->policy();
  };
  EXPECT_EQ(canonical("snapkv:window=32,keep=0.25,tail=32,kernel=7"), "snapkv");
  EXPECT_EQ(canonical("snapkv:window=16,keep=0.5,sinks=4"), "snapkv:keep=0.5,sinks=4,window=16");
  EXPECT_EQ(canonical("random:seed=0,budget=100,tail=3"), "random:budget=100,tail=3");
}

}  // namespace
}  // namespace incontext::cache
