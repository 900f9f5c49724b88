// Which cache policies requests may name.

#include "serve/cache_offer.h"

#include <gtest/gtest.h>

#include "support/errors.h"

namespace incontext::serve {
namespace {

using testing::error_of;

std::string found(const CacheOffer& offer, const std::string& text) {
  std::string policy;
  const std::string error = error_of([&] { policy = offer.find(text).text(); });
  return error == "no error" ? policy : error;
}

TEST(CacheOffer, KindsWithoutFilesAreOpenToAll) {
  const CacheOffer offer({{.text = "kivi:bits=4", .policy = "kivi:bits=4,tail=128"}}, {"full", "kivi"});
  EXPECT_EQ(offer.names(), (std::vector<std::string>{"kivi:bits=4", "full", "kivi"}));
  for (const char* policy : {"full", "full:f32", "kivi", "kivi:bits=4", "kivi:tail=7"}) {
    EXPECT_EQ(found(offer, policy), policy);
  }
  EXPECT_EQ(found(offer, "ful"),
            "cache policy 'ful' is not offered here (did you mean 'full'?); offered: kivi:bits=4, and the kinds full, "
            "kivi with any options");
}

TEST(CacheOffer, FilesMustHaveBeenGiven) {
  const std::string mine = "lexico:sparsity=4,dictionary=/d/a", spelled = "lexico:dictionary=/d/a,sparsity=4,tail=128";
  const CacheOffer one({{.text = mine, .policy = spelled}}, {"full"});
  EXPECT_EQ(found(one, "lexico"), spelled);
  EXPECT_EQ(found(one, mine), spelled);
  EXPECT_EQ(found(one, "lexico:dictionary=/d/a,sparsity=4"), spelled) << "the order of options means nothing";
  EXPECT_EQ(found(one, spelled), spelled);
  const std::string refusal = "' is not offered here; offered: " + mine + ", and the kinds full with any options";
  for (const char* other : {"lexico:dictionary=/d/b,sparsity=4", "lexico:dictionary=/d/a", "lexico:sparsity=4",
                            "lexico:dictionary=/etc/passwd", "k=lexico,v=full"}) {
    EXPECT_CONTAINS(found(one, other), refusal) << other;
  }
  const CacheOffer two({{.text = mine, .policy = spelled}, {.text = "lexico:dictionary=/d/b", .policy = "b"}},
                       {"full"});
  EXPECT_EQ(found(two, "lexico:dictionary=/d/b"), "b");
  EXPECT_CONTAINS(found(two, "lexico"), "2 of that kind are, name one in full; offered: " + mine);
  EXPECT_CONTAINS(error_of([&] {
                    CacheOffer({{.text = "a", .policy = "x"}, {.text = "b", .policy = "x"}}, {});
                  }),
                  "cache policies 'a' and 'b' are the same");
}

TEST(CacheOffer, KnowsWhichKindsOpenFiles) {
  const std::vector<std::string> kinds = kinds_without_files();
  EXPECT_EQ(std::count(kinds.begin(), kinds.end(), "full"), 1);
  EXPECT_EQ(std::count(kinds.begin(), kinds.end(), "lexico"), 0);
}

}  // namespace
}  // namespace incontext::serve
