#include "hub/model_name.h"

#include "support/errors.h"

namespace incontext::hub {
namespace {

TEST(ModelName, ReadsNamesAndRevisions) {
  const auto plain = parse_model_name("org/name-1.5_b");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->repository, "org/name-1.5_b");
  EXPECT_EQ(plain->revision, "main");
  EXPECT_EQ(plain->text(), "org/name-1.5_b");
  const auto revised = parse_model_name("org/name@refs/pr/1");
  ASSERT_TRUE(revised);
  EXPECT_EQ(revised->repository, "org/name");
  EXPECT_EQ(revised->revision, "refs/pr/1");
  EXPECT_EQ(revised->text(), "org/name@refs/pr/1");
  EXPECT_TRUE(parse_model_name("gpt2"));
}

TEST(ModelName, PathsAreNoNames) {
  for (const char* text : {"", "/a/b", "./a", "../a", "a/b/c", "a/", "/a", "a//b", "a b/c", "org/..", "org/na--me",
                           "org/-x", "org/x.", "org/name@", "org/name@../x", "org/name@a//b", "~/a", "org/n\xc3\xa4"}) {
    EXPECT_FALSE(parse_model_name(text)) << text;
  }
  EXPECT_FALSE(parse_model_name(std::string(97, 'a')));
}

TEST(ModelName, SafeNamesStayBelow) {
  for (const char* name : {"a", "a.b", "a/b", "..a", "a..b/c"}) EXPECT_TRUE(is_safe_relative(name)) << name;
  for (const char* name : {"", ".", "..", "/a", "a/", "../a", "a/../b", "a/./b", "a//b", "a\\b", "a\nb", "a\x7f"}) {
    EXPECT_FALSE(is_safe_relative(name)) << name;
  }
  EXPECT_FALSE(is_safe_relative(std::string_view("a\0b", 3)));
  EXPECT_FALSE(is_safe_relative(std::string(256, 'a')));
}

TEST(ModelName, CommitsAreFortyDigits) {
  EXPECT_TRUE(is_commit("0123456789abcdef0123456789abcdef01234567"));
  EXPECT_FALSE(is_commit("0123456789abcdef0123456789abcdef0123456"));
  EXPECT_FALSE(is_commit("0123456789ABCDEF0123456789abcdef01234567"));
}

}  // namespace
}  // namespace incontext::hub
