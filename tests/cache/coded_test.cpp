#include "cache/kinds/coded.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cache/kinds/streaming.h"
#include "kind_promises.h"
#include "support/errors.h"

namespace incontext::cache {
namespace {

using testing::error_of;

constexpr CacheShape kCodedShape{.layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 8, .capacity = 600};

/// Codes that lose nothing: keys and values as fp32, with the plainest attention. Odd blocks are a float longer, so
/// that sizes differ.
class PlainKind : public CodedKind {
 public:
  using CodedKind::CodedKind;

  std::string policy() const override { return "plain"; }
  int64_t block_bytes(int64_t, const CacheShape& shape) const override { return size(shape) + 4; }
  std::vector<int64_t> encode(int64_t layer, const CacheShape& shape, const float* keys, const float* values,
                              int64_t blocks, std::byte* out) const override {
    std::vector<int64_t> sizes;
    const int64_t half = size(shape) / 2;
    for (int64_t block = 0; block < blocks; ++block) {
      std::memcpy(out + block * block_bytes(layer, shape), keys + block * half / 4, static_cast<size_t>(half));
      std::memcpy(out + block * block_bytes(layer, shape) + half, values + block * half / 4, static_cast<size_t>(half));
      sizes.push_back(size(shape) + block % 2 * 4);
    }
    return sizes;
  }
  void attend_codes(int64_t, const CacheShape& shape, std::span<const CodesAttending> sequences,
                    float scale) const override {
    for (const CodesAttending& each : sequences) {
      for (int64_t row = 0; row < each.count * shape.heads; ++row) attend_row(shape, each, row, scale);
    }
  }
  void check_block(int64_t, const CacheShape& shape, std::span<const std::byte> block,
                   const std::string& where) const override {
    base::check(static_cast<int64_t>(block.size()) >= size(shape), "{}: a short block", where);
  }

 private:
  static int64_t size(const CacheShape& shape) { return kCodedBlock * shape.kv_heads * shape.head_dim * 2 * 4; }

  static const float* part(const CacheShape& shape, const CodesAttending& of, int64_t position, int64_t head,
                           bool value) {
    const auto* block = reinterpret_cast<const float*>(of.codes->block(position / kCodedBlock));
    return block + (value ? size(shape) / 8 : 0) + (position % kCodedBlock * shape.kv_heads + head) * shape.head_dim;
  }

  static void attend_row(const CacheShape& shape, const CodesAttending& of, int64_t row, float scale) {
    const int64_t head = row % shape.heads, kv_head = head / (shape.heads / shape.kv_heads);
    const float* q = of.queries.data + row / shape.heads * of.queries.stride + head * shape.head_dim;
    double sum = 0;
    std::vector<double> mean(static_cast<size_t>(shape.head_dim), 0);
    for (int64_t j = of.first; j < of.last; ++j) {
      double score = 0;
      for (int64_t d = 0; d < shape.head_dim; ++d)
        score += static_cast<double>(q[d]) * part(shape, of, j, kv_head, false)[d];
      const double weight = std::exp(score * static_cast<double>(scale));
      sum += weight;
      for (int64_t d = 0; d < shape.head_dim; ++d) {
        mean[static_cast<size_t>(d)] += weight * part(shape, of, j, kv_head, true)[d];
      }
    }
    for (int64_t d = 0; d < shape.head_dim; ++d) {
      of.out[row * shape.head_dim + d] = static_cast<float>(mean[static_cast<size_t>(d)] / sum);
    }
    of.log_sums[row] = static_cast<float>(std::log2(sum));
  }
};

std::shared_ptr<const CacheKind> plain(const KeptExact& kept) { return std::make_shared<PlainKind>(kept); }

std::shared_ptr<const CacheKind> full_kind() { return open_kind(parse_policy("full"), {.shape = kCodedShape}); }

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return largest;
}

TEST(CodedCache, CodesThatLoseNothingGiveTheFullCache) {
  for (const KeptExact& kept : {KeptExact{.sinks = 4, .tail = 40}, KeptExact{.sinks = 0, .tail = 0},
                                KeptExact{.sinks = 33, .tail = 1, .exact_layers = {1}}}) {
    for (const int64_t window : {0, 20, 90, 200}) {
      SCOPED_TRACE(fmt::format("sinks {}, tail {}, window {}", kept.sinks, kept.tail, window));
      const Scores scores{.scale = 0.3F, .window = window};
      DrivenCache exact(full_kind(), kCodedShape, scores), coded(plain(kept), kCodedShape, scores);
      EXPECT_EQ(exact.read_prompt(300, 100), coded.read_prompt(300, 100));
      EXPECT_LT(largest_difference(exact.decode(150, 1), coded.decode(150, 1)), 2e-6);
      EXPECT_LT(largest_difference(exact.decode(50, 10), coded.decode(50, 10)), 2e-6);
      const auto& cache = static_cast<const CodedCache&>(coded.cache());
      EXPECT_EQ(cache.codes(0)->count(), (500 - kept.sinks - std::max<int64_t>(1, kept.tail)) / 32);
      EXPECT_EQ(cache.exact().length(1), kept.exact_layers.empty() ? cache.exact().length(0) : 500);
    }
  }
}

TEST(CodedCache, KeepsWhatEveryKindPromises) {
  check_promises(plain({.sinks = 4, .tail = 40}), kCodedShape, 300);
  check_promises(plain({.sinks = 40, .tail = 64, .exact_layers = {0}}), kCodedShape, 211);
  check_promises(std::make_shared<StreamingKind>(KeptExact{.sinks = 4, .tail = 64}), kCodedShape, 300);
}

TEST(CodedCache, ServesOtherPromptsOnlyUntilItIsCompressed) {
  DrivenCache driven(plain({.sinks = 4, .tail = 100}), kCodedShape);
  driven.read_prompt(120, 120);
  EXPECT_TRUE(driven.cache().serves_prompts());
  driven.cache().truncate(110);
  EXPECT_EQ(driven.cache().length(), 110);
  driven.read_prompt(100, 100);
  EXPECT_FALSE(driven.cache().serves_prompts());
  EXPECT_FALSE(driven.cache().can_truncate());
  EXPECT_CONTAINS(error_of([&] { driven.cache().truncate(100); }), "cannot be cut to 100 tokens");
  EXPECT_CONTAINS(error_of([&] { driven.cache().copy_prefix(100, 200); }), "exactly 210");
  driven.cache().truncate(0);
  DrivenCache fresh(plain({.sinks = 4, .tail = 100}), kCodedShape);
  EXPECT_EQ(driven.read_prompt(250, 250), fresh.read_prompt(250, 250));
  EXPECT_EQ(driven.decode(20, 1), fresh.decode(20, 1));
}

TEST(Streaming, AttendsToTheEndsOnly) {
  DrivenCache streaming(std::make_shared<StreamingKind>(KeptExact{.sinks = 0, .tail = 64}), kCodedShape);
  DrivenCache window(full_kind(), kCodedShape, {.scale = 0.3F, .window = 64});
  streaming.read_prompt(300, 300);
  window.read_prompt(300, 300);
  // 300 = 32 * 7 + 76: the token at 287 + 32 has just 64 positions.
  streaming.decode(19, 1);
  window.decode(19, 1);
  EXPECT_LT(largest_difference(streaming.step(1), window.step(1)), 1e-6);
  EXPECT_GT(largest_difference(streaming.step(1), window.step(1)), 1e-3);
}

TEST(KeptExact, ReadsLayersFromBothEnds) {
  const CachedModel model{.shape = {.layers = 12}};
  const auto read = [&](const std::string& text) {
    const CachePolicy policy = parse_policy(text);
    PolicyOptions options(policy);
    const KeptExact kept = read_kept_exact(options, model);
    options.finish();
    return fmt::format("{}", fmt::join(kept.options(), ","));
  };
  EXPECT_EQ(read("kind"), "");
  EXPECT_EQ(read("kind:exact_layers=-1/0/11,sinks=0,tail=7"), "exact_layers=0/11,sinks=0,tail=7");
  EXPECT_CONTAINS(error_of([&] { read("kind:exact_layers=12"); }), "expected layers from -12 to 11");
  EXPECT_CONTAINS(error_of([&] { read("kind:tail=x"); }), "tail: expected a whole number from 0 to 1048576, got 'x'");
  EXPECT_CONTAINS(error_of([&] { read("kind:tails=3"); }),
                  "unknown option 'tails'; kind has sinks=, tail=, exact_layers=");
}

}  // namespace
}  // namespace incontext::cache
