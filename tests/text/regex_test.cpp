#include "text/regex.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace incontext::text {
namespace {

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  std::vector<std::string> out;
  for (const Range& range : Regex(pattern, "here").find_all(text)) {
    out.push_back(text.substr(range.begin, range.end - range.begin));
  }
  return out;
}

using Texts = std::vector<std::string>;

TEST(Regex, ClassesAreUnicodes) {
  EXPECT_EQ(matches(R"(\s+)", "a\u0085b\u2003c\u180Ed"), (Texts{"\u0085", "\u2003"}));
  EXPECT_EQ(matches(R"(\w+)", "नमस्ते _x1 ‿"), (Texts{"नमस्ते", "_x1", "‿"}));
  EXPECT_EQ(matches(R"([^\s\w]+)", "a,b ./"), (Texts{",", "./"}));
  EXPECT_EQ(matches(R"(\d)", "1٣½"), (Texts{"1", "٣"}));
  EXPECT_EQ(matches(R"(\h+)", "xDEADg"), Texts{"DEAD"});
  EXPECT_EQ(matches(R"((?i:'LL))", "we'll"), Texts{"'ll"});
  EXPECT_EQ(matches(R"(^b$)", "a\nb\nc"), Texts{"b"}) << "lines, as in Ruby";
  EXPECT_EQ(matches(R"([]a]+)", "]a["), Texts{"]a"});
  EXPECT_EQ(matches(R"(\p{L}+x|a{,2}b)", "aab"), Texts{"aab"}) << "a property's braces are no interval";
}

TEST(Regex, EmptyMatchesAreBetweenOthers) { EXPECT_EQ(matches("x*", "axb"), (Texts{"", "x", ""})); }

TEST(Regex, WhatCannotBeSaidIsRefused) {
  for (const std::string pattern : {"[a[bc]]", "[a&&b]", R"([\W_])", "a{1,2}+", "(", "[a", "a\\", "(?<n>a)(?"}) {
    try {
      Regex(pattern, "here");
      ADD_FAILURE() << pattern;
    } catch (const base::Error& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("here: ")) << error.what();
    }
  }
}

TEST(Regex, CatastrophesEnd) {
  try {
    matches("(a+)+b", std::string(5000, 'a'));
  } catch (const base::Error& error) {
    EXPECT_NE(std::string(error.what()).find("gave up"), std::string::npos);
  }
}

TEST(Regex, LongRunsAreNoCatastrophes) {
  // The first alternative goes back over all of the white space.
  const std::string spaces(3'000'000, ' ');
  EXPECT_EQ(matches(R"(\s*[\r\n]+|\s+(?!\S)|\s+)", spaces + "a").size(), 2U);
}

TEST(Regex, CommandsToTheLibraryAreRefused) {
  EXPECT_THROW(Regex("(*NO_JIT)a", "here"), base::Error);
  EXPECT_EQ(matches(R"([(*]+|\(\*)", "(*"), Texts{"(*"});
}

TEST(Regex, EscapedTextMatchesItself) {
  const std::string text = R"(a.b*[c](d){e}^$|\ +?#-&~)";
  EXPECT_EQ(matches(Regex::escape(text), "x" + text + "y"), Texts{text});
}

}  // namespace
}  // namespace incontext::text
