#include "cache/kinds/integer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kind_promises.h"
#include "support/errors.h"

namespace incontext::cache {
namespace {

using testing::error_of;

CacheShape shape_of(int64_t head_dim, int64_t group, int64_t kv_heads = 2) {
  return {.layers = 2, .heads = group * kv_heads, .kv_heads = kv_heads, .head_dim = head_dim, .capacity = 600};
}

std::shared_ptr<const CacheKind> opened(const std::string& policy, const CacheShape& shape) {
  return open_kind(parse_policy(policy), {.shape = shape});
}

std::string canonical(const std::string& policy) { return opened(policy, shape_of(64, 1))->policy(); }

/// Root mean square of a - b, beside that of b.
double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / size);
}

/// How far a kind's attention is from the full cache's, a while after a prompt.
double error_of_kind(const std::string& policy, const CacheShape& shape) {
  const Scores scores{.scale = 1 / std::sqrt(static_cast<float>(shape.head_dim))};
  DrivenCache full(opened("full", shape), shape, scores), coded(opened(policy, shape), shape, scores);
  full.read_prompt(300, 300);
  coded.read_prompt(300, 300);
  return relative_error(coded.decode(100, 1), full.decode(100, 1));
}

TEST(IntegerKinds, KeepWhatEveryKindPromises) {
  const std::vector<std::string> policies{"q8_0", "q4_0:sinks=4,tail=40", "k=q8_0,v=q4_0,rotate=off", "kivi:tail=64",
                                          "kivi:bits=4,tail=0,exact_layers=1"};
  for (const std::string& policy : policies) check_promises(opened(policy, shape_of(32, 3)), shape_of(32, 3), 300);
  // Each of the other heads with some of them: making a test's numbers takes long.
  size_t turn = 0;
  for (const auto& [head_dim, group] : {std::pair<int64_t, int64_t>{64, 1}, {128, 4}, {80, 8}, {96, 1}}) {
    const CacheShape shape = shape_of(head_dim, group);
    for (int time = 0; time < 2; ++time) check_promises(opened(policies[turn++ % 5], shape), shape, 211);
  }
  check_promises(opened("kivi:group=64,tail=40", shape_of(64, 4)), shape_of(64, 4), 211);
  check_promises(opened("kivi:group=128,tail=40", shape_of(128, 1)), shape_of(128, 1), 211);
}

TEST(IntegerKinds, LoseAsMuchAsTheirBitsSay) {
  for (const auto& [head_dim, group] : {std::pair<int64_t, int64_t>{64, 4}, {128, 1}, {80, 3}}) {
    const CacheShape shape = shape_of(head_dim, group);
    // Steps of rounding are even: a code of b bits leaves about 2^-b of a group's range. Two-sided, since a cache that
    // loses nothing here has compressed nothing.
    const auto within = [&](const std::string& policy, double least, double most) {
      const double error = error_of_kind(policy, shape);
      EXPECT_GE(error, least) << policy << " at " << head_dim;
      EXPECT_LE(error, most) << policy << " at " << head_dim;
    };
    within("q8_0", 0.001, 0.02);
    within("q8_0:rotate=off,refit=off", 0.001, 0.02);
    within("q4_0", 0.03, 0.25);
    within("k=q8_0,v=q4_0", 0.02, 0.2);
    within("q4_0:values=q8_0", 0.02, 0.2);
    within("kivi:bits=4,tail=0", 0.03, 0.2);
    within("kivi:tail=0", 0.15, 0.8);
  }
}

TEST(IntegerKinds, RotationAndFittedScalesHelp) {
  // The channels of these keys differ in strength by four: rotation evens them out within a scale.
  const CacheShape shape = shape_of(64, 4);
  const double both = error_of_kind("q4_0", shape);
  EXPECT_LT(both, error_of_kind("q4_0:rotate=off,refit=off", shape));
}

TEST(IntegerKinds, TwoSpellingsAreOneKind) {
  EXPECT_EQ(canonical("k=q8_0,v=q4_0"), "q8_0:values=q4_0");
  EXPECT_EQ(canonical("v=q4_0,k=q8_0"), "q8_0:values=q4_0");
  EXPECT_EQ(canonical("q4_0:values=q4_0,rotate=on"), "q4_0");
  EXPECT_EQ(canonical("k=q4_0,v=q4_0"), "q4_0");
  EXPECT_EQ(canonical("q8_0:tail=128,refit=off,sinks=0"), "q8_0:refit=off,tail=128");
  EXPECT_EQ(canonical("q4_0:exact_layers=-1"), "q4_0:exact_layers=1");
  EXPECT_EQ(canonical("kivi:group=32,bits=2,tail=128"), "kivi");
  EXPECT_EQ(canonical("kivi:tail=0,bits=4,group=64"), "kivi:bits=4,group=64,tail=0");
  EXPECT_EQ(canonical("streaming"), "streaming");
  EXPECT_EQ(canonical("streaming:tail=128"), "streaming:tail=128");
  EXPECT_EQ(canonical(canonical("kivi:tail=0,bits=4")), "kivi:bits=4,tail=0");
}

TEST(IntegerKinds, RefuseWhatTheyCannotBe) {
  const auto refusal = [](const std::string& policy) { return error_of([&] { opened(policy, shape_of(64, 1)); }); };
  EXPECT_CONTAINS(refusal("kivi:bits=3"), "cache policy 'kivi:bits=3': bits: expected 2 or 4, got '3'");
  EXPECT_CONTAINS(refusal("kivi:group=48"), "group: expected 32 or 64 or 128, got '48'");
  EXPECT_CONTAINS(refusal("kivi:group=128"), "group: expected a divisor of the head's 64 channels, got 128");
  EXPECT_CONTAINS(refusal("q8_0:bits=4"), "unknown option 'bits'");
  EXPECT_CONTAINS(refusal("q4_0:rotate=yes"), "rotate: expected on or off, got 'yes'");
  EXPECT_CONTAINS(refusal("q4_0:values=q5_0"), "values: expected q4_0 or q8_0, got 'q5_0'");
  EXPECT_CONTAINS(refusal("k=q4_0,v=q5_0"), "values: expected q4_0 or q8_0, got 'q5_0'");
  EXPECT_CONTAINS(refusal("k=q4_0"), "cache policy 'k=q4_0': expected k=KIND,v=KIND and options");
  EXPECT_CONTAINS(refusal("k=q4_0,v=q4_0,values=q8_0"), "expected k=KIND,v=KIND");
  EXPECT_CONTAINS(refusal("k=q5_0,v=q4_0"), "q5_0");
}

TEST(IntegerKinds, DamagedCodesAreRefused) {
  const CacheShape shape = shape_of(32, 1, 1);
  const auto kind = std::dynamic_pointer_cast<const IntegerKind>(opened("q4_0", shape));
  std::vector<std::byte> block(static_cast<size_t>(kind->block_bytes(0, shape)));
  EXPECT_EQ(error_of([&] { kind->check_block(0, shape, block, "file"); }), "no error");
  kernels::write_element(kernels::Storage::f16, block.data(), 3, INFINITY);
  EXPECT_CONTAINS(error_of([&] { kind->check_block(0, shape, block, "file"); }), "file: layer 0: a scale is inf");
  block.pop_back();
  EXPECT_CONTAINS(error_of([&] { kind->check_block(0, shape, block, "file"); }), "file: layer 0: expected blocks of");
}

// What re-implementations of KIVI were found to get wrong, each in a line of its own.

TEST(Kivi, KeysAreCodedInGroupsOf32TokensHoweverTheyCome) {
  // Groups of a single token would have a range of 0: keys that stay exact and are counted as 2 bits.
  const CacheShape shape = shape_of(32, 1);
  DrivenCache driven(opened("kivi:tail=0", shape), shape);
  driven.read_prompt(20, 20);
  for (int64_t token = 20; token < 120; ++token) {
    driven.decode(1, 1);
    const auto& cache = static_cast<const CodedCache&>(driven.cache());
    ASSERT_EQ(cache.codes(0)->count(), (token + 1 - 1) / 32);
    for (int64_t block = 0; block < cache.codes(0)->count(); ++block) {
      const std::byte* first = cache.codes(0)->block(block);
      for (int64_t channel = 0; channel < 32; ++channel) {
        ASSERT_GT(kernels::read_element(kernels::Storage::f16, first, channel), 0.1F) << "a range of normal numbers";
      }
    }
  }
}

TEST(Kivi, TheTailIsCountedInTokensNotInCalls) {
  // A prompt in calls shorter than the tail, and tokens one by one: what is older than the tail is coded all the same.
  const CacheShape shape = shape_of(32, 1);
  DrivenCache driven(opened("kivi:tail=64", shape), shape);
  driven.read_prompt(200, 16);
  const auto& cache = static_cast<const CodedCache&>(driven.cache());
  EXPECT_EQ(cache.codes(0)->count(), (200 - 64) / 32);
  driven.decode(100, 1);
  EXPECT_EQ(cache.codes(0)->count(), (300 - 64) / 32);
  EXPECT_EQ(cache.exact().length(0), 300 - (300 - 64) / 32 * 32);
}

TEST(Kivi, NoGroupMixesSequences) {
  // A sequence's codes are its own: with neighbours of other lengths it has the bytes that it has alone.
  const CacheShape shape = shape_of(32, 1);
  const auto kind = opened("kivi:tail=0", shape);
  DrivenCache alone(kind, shape), first(kind, shape), second(kind, shape);
  alone.read_prompt(150, 150);
  for (int64_t part = 0; part < 5; ++part) {
    second.decode(17, 17);
    first.decode(30, 30);
  }
  first.cache().end_of_prompt();
  second.cache().end_of_prompt();
  const auto codes_of = [](DrivenCache& driven) {
    const CodeBlocks* codes = static_cast<const CodedCache&>(driven.cache()).codes(1);
    return std::vector<std::byte>(codes->block(0), codes->block(codes->count() - 1) + codes->block_bytes(0));
  };
  EXPECT_EQ(codes_of(first), codes_of(alone));
  EXPECT_EQ(first.decode(3, 1), alone.decode(3, 1));
}

TEST(Kivi, BytesAreSaved) {
  const CacheShape shape{.layers = 2, .heads = 4, .kv_heads = 4, .head_dim = 128, .capacity = 2100};
  DrivenCache full(opened("full", shape), shape), two(opened("kivi:tail=0", shape), shape);
  DrivenCache four(opened("kivi:bits=4,tail=0,group=128", shape), shape), eight(opened("q8_0", shape), shape);
  for (DrivenCache* each : {&full, &two, &four, &eight}) each->read_prompt(2049, 2049);
  const auto share = [&](DrivenCache& of) {
    return static_cast<double>(of.cache().bytes()) / static_cast<double>(full.cache().bytes());
  };
  // 3, 4 + (1 + 1/4) / 2 and 8.5 bits of 16, and what up to 32 exact tokens take.
  EXPECT_NEAR(share(two), 3.0 / 16, 0.02);
  EXPECT_NEAR(share(four), 4.625 / 16, 0.02);
  EXPECT_NEAR(share(eight), 8.5 / 16, 0.02);
}

}  // namespace
}  // namespace incontext::cache
