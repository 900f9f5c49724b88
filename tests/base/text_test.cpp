#include "base/text.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/csv.h"

namespace incontext::base {
namespace {

using Names = std::vector<std::string>;

TEST(Text, EditDistanceCountsSwapsAsOne) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("steps", "stpes"), 1);
  EXPECT_EQ(edit_distance("ca", "abc"), 3) << "no edits inside a swapped pair";
}

TEST(Text, NearestNameIsALikelyMisspelling) {
  const Names names = {"steps", "seed", "learning_rate", "lr"};
  EXPECT_EQ(nearest_name("stpes", names), "steps");
  EXPECT_EQ(nearest_name("learnin_rat", names), "learning_rate");
  EXPECT_EQ(nearest_name("rl", names), "lr");
  EXPECT_EQ(nearest_name("q", names), "");
  EXPECT_EQ(nearest_name("completely", names), "");
  EXPECT_EQ(nearest_name("x", {}), "");
}

TEST(Text, EnumeratesSplitsAndTrims) {
  EXPECT_EQ(enumerate_names({}), "");
  EXPECT_EQ(enumerate_names({"a"}), "a");
  EXPECT_EQ(enumerate_names({"a", "b", "c"}), "a, b and c");
  EXPECT_EQ(split("a..b", '.'), (Names{"a", "", "b"}));
  EXPECT_EQ(split("", '.'), Names{""});
  EXPECT_EQ(split("a.", '.'), (Names{"a", ""}));
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" \n "), "");
}

TEST(Text, MakesTextFitForOneLine) {
  EXPECT_EQ(printable("a\x1b[1mb\r\n\tc\x7f"), "a [1mb   c ");
  EXPECT_EQ(printable("ünï"), "ünï");
  EXPECT_EQ(display_width("ünï"), 3U);
  EXPECT_EQ(clip("abcdef", 6), "abcdef");
  EXPECT_EQ(clip("abcdef", 4), "abc…");
  EXPECT_EQ(clip("üüüü", 3), "üü…");
  EXPECT_EQ(clip("abc", 1), "…");
  EXPECT_EQ(clip("abc", 0), "");
}

TEST(Text, FormatsDurations) {
  EXPECT_EQ(format_duration(0), "0 s");
  EXPECT_EQ(format_duration(59.4), "59 s");
  EXPECT_EQ(format_duration(59.6), "1 min 00 s");
  EXPECT_EQ(format_duration(185), "3 min 05 s");
  EXPECT_EQ(format_duration(7620), "2 h 07 min");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "?");
}

TEST(Text, FormatsBytes) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(3.0 * (1ULL << 40)), "3.0 TiB");
  EXPECT_EQ(format_bytes(4096.0 * (1ULL << 40)), "4096.0 TiB");
}

TEST(Text, QuotesCsvFields) {
  EXPECT_EQ(csv_field("plain"), "plain");
  EXPECT_EQ(csv_field(""), "");
  EXPECT_EQ(csv_field("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_field("say \"a\""), "\"say \"\"a\"\"\"");
  EXPECT_EQ(csv_field("two\nlines"), "\"two\nlines\"");
  EXPECT_EQ(csv_field(" outer "), "\" outer \"");
  EXPECT_EQ(csv_line({"a", "b,c", ""}), "a,\"b,c\",\n");
}

TEST(Text, PatternsStandForWholeTexts) {
  for (const char* pattern :
       {"layers.0.mlp.up", "layers.*", "*.up", "*", "l*0*up", "layers.?.mlp.*", "**layers*up**"}) {
    EXPECT_TRUE(matches_pattern("layers.0.mlp.up", pattern)) << pattern;
  }
  for (const char* pattern : {"", "layers", "layers.0.mlp.u", "layers.0.mlp.up?", "?", "*.down", "l*1*up", "mlp.*"}) {
    EXPECT_FALSE(matches_pattern("layers.0.mlp.up", pattern)) << pattern;
  }
  EXPECT_TRUE(matches_pattern("", ""));
  EXPECT_TRUE(matches_pattern("", "*"));
  EXPECT_FALSE(matches_pattern("", "?"));
  EXPECT_TRUE(matches_pattern("aabab", "*ab")) << "the star takes more than at first";
  EXPECT_FALSE(matches_pattern("abcabd", "*ab?bd*"));
  const std::string many(200, 'a');
  EXPECT_FALSE(matches_pattern(many, "*a*a*a*a*a*a*a*a*a*a*a*a*b")) << "and no time without end";
}

TEST(Text, WholeNumbersAreDigitsAlone) {
  EXPECT_EQ(whole_number("000120"), 120);
  EXPECT_EQ(whole_number("9223372036854775807"), INT64_MAX);
  for (const char* other : {"", "-1", "+1", "1.5", " 1", "1 ", "9223372036854775808", "one"}) {
    EXPECT_EQ(whole_number(other), std::nullopt) << other;
  }
}

}  // namespace
}  // namespace incontext::base
