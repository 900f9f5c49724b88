#include "hub/blob_digest.h"

#include "support/errors.h"

namespace incontext::hub {
namespace {

// From sha256sum and git hash-object.
constexpr const char* kSha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
constexpr const char* kGitSha1 = "ce013625030ba8dba906f756967f9e9ca394464a";

std::string difference(const std::string& etag, const std::string& bytes) {
  BlobDigest digest(etag, 6);
  for (const char c : bytes) digest.add(&c, 1);
  return digest.difference();
}

TEST(BlobDigest, KnowsLargeFilesBySha256AndSmallOnesAsGitDoes) {
  EXPECT_EQ(difference(kSha256, "hello\n"), "");
  EXPECT_EQ(difference(kGitSha1, "hello\n"), "");
  EXPECT_CONTAINS(difference(kGitSha1, "hellO\n"), std::string("expected git SHA-1 ") + kGitSha1 + ", got ");
  EXPECT_CONTAINS(difference(std::string(64, '0'), "hello\n"), std::string("got ") + kSha256);
}

TEST(BlobDigest, OtherEtagsTellNothing) {
  EXPECT_EQ(difference("5f-abc", "hello\n"), "");
  EXPECT_EQ(difference(std::string(64, 'x'), "hello\n"), "");
  EXPECT_EQ(difference("", "hello\n"), "");
}

TEST(BlobDigest, StartsOver) {
  BlobDigest digest(kGitSha1, 6);
  digest.add("junk", 4);
  digest.restart();
  digest.add("hello\n", 6);
  EXPECT_EQ(digest.difference(), "");
}

}  // namespace
}  // namespace incontext::hub
