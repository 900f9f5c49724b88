#include "decode/stop_strings.h"

#include <gtest/gtest.h>

namespace incontext::decode {
namespace {

// The text that comes out when `text` comes in pieces of `size`.
std::string through(StopStrings stops, const std::string& text, size_t size) {
  std::string shown;
  for (size_t at = 0; at < text.size(); at += size) shown += stops.add(text.substr(at, size));
  return shown + stops.finish();
}

TEST(StopStrings, EndTheTextHoweverItIsCut) {
  for (size_t size = 1; size < 12; ++size) {
    EXPECT_EQ(through(StopStrings({"END"}), "one END two", size), "one ");
    EXPECT_EQ(through(StopStrings({"END", "ne E"}), "one END two", size), "o") << "the earliest counts";
    EXPECT_EQ(through(StopStrings({"ENDED"}), "one END two", size), "one END two");
    EXPECT_EQ(through(StopStrings({"aab"}), "aaab", size), "a") << "a beginning within a beginning";
    EXPECT_EQ(through(StopStrings({}), "one END two", size), "one END two");
    EXPECT_EQ(through(StopStrings({""}), "one", size), "one");
  }
}

TEST(StopStrings, AreShownWhereThatIsAskedFor) {
  for (size_t size = 1; size < 12; ++size) {
    EXPECT_EQ(through(StopStrings({"END"}, /*shown=*/true), "one END two", size), "one END");
    EXPECT_EQ(through(StopStrings({"ENDED"}, /*shown=*/true), "one END two", size), "one END two");
  }
}

TEST(StopStrings, HoldBackNoMoreThanMayBecomeOne) {
  StopStrings stops({"\nUser:"});
  EXPECT_EQ(stops.add("Hello\nUs"), "Hello");
  EXPECT_EQ(stops.add("eless"), "\nUseless");
  EXPECT_FALSE(stops.stopped());
  EXPECT_EQ(stops.add("\nUser: more"), "");
  EXPECT_TRUE(stops.stopped());
  EXPECT_EQ(stops.which(), "\nUser:");
  EXPECT_EQ(stops.add("nothing"), "");
  EXPECT_EQ(stops.finish(), "");
}

}  // namespace
}  // namespace incontext::decode
