#include "cache/policy.h"

#include <gtest/gtest.h>

#include "cache/kind.h"
#include "support/errors.h"

namespace incontext::cache {
namespace {

using testing::error_of;

TEST(Policy, ReadsKindWordsAndValues) {
  EXPECT_EQ(parse_policy("full").kind, "full");
  const CachePolicy policy = parse_policy("quantized:bits=4,group=32,symmetric");
  EXPECT_EQ(policy.kind, "quantized");
  EXPECT_EQ(policy.values.at("bits"), "4");
  EXPECT_EQ(policy.values.at("group"), "32");
  EXPECT_EQ(policy.words, std::vector<std::string>{"symmetric"});
}

TEST(Policy, TextReadsBackToItself) {
  for (const char* text : {"full", "full:bf16", "quantized:bits=4,group=32", "lexico:dictionary=a/b.c,sparsity=16"}) {
    EXPECT_EQ(parse_policy(text).text(), text);
  }
}

TEST(Policy, RefusesOtherForms) {
  for (const char* text : {"", ":", "full:", "full:,f16", "full:=3", "fu ll"}) {
    EXPECT_CONTAINS(error_of([&] { parse_policy(text); }), std::string("cache policy '") + text + "'");
  }
  EXPECT_CONTAINS(error_of([] { parse_policy("quantized:bits=4,bits=8"); }), "'bits' is given twice");
}

TEST(Policy, UnknownKindsAndOptionsNameTheKnownOnes) {
  const CacheShape shape{.layers = 1, .heads = 1, .kv_heads = 1, .head_dim = 4, .capacity = 8};
  EXPECT_CONTAINS(error_of([&] { make_cache(parse_policy("ful"), shape); }), "did you mean 'full'?");
  EXPECT_CONTAINS(error_of([&] { make_cache(parse_policy("full:f8"), shape); }),
                  "expected full, full:f16, full:bf16 or full:f32");
  EXPECT_CONTAINS(error_of([&] { make_cache(parse_policy("full:bits=4"), shape); }), "expected full");
}

}  // namespace
}  // namespace incontext::cache
