#include "base/json_limits.h"

#include <gtest/gtest.h>

#include <chrono>

namespace incontext::base {
namespace {

using Broken = JsonScan::Broken;

Broken broken_by(const std::string& text, const JsonLimits& limits) { return scan_json(text, limits).broken; }

TEST(JsonLimits, CountsListsAndObjectsInsideEachOther) {
  EXPECT_EQ(broken_by(R"([{"a": [1]}, {"a": [1]}])", {.deepest = 3}), Broken::none);
  EXPECT_EQ(broken_by(R"([{"a": [1]}])", {.deepest = 2}), Broken::depth);
  EXPECT_EQ(broken_by(std::string(1'000'000, '['), {.deepest = 64}), Broken::depth);
}

// Which the library takes for the end: the parser that keeps the digits does not.
TEST(JsonLimits, GoesOnPastALongInteger) {
  EXPECT_EQ(broken_by("[" + std::string(400, '9') + ", [[[]]]]", {.deepest = 3}), Broken::depth);
}

TEST(JsonLimits, CountsTheKeysOfAllObjects) {
  const std::string text = R"({"a": {"b": 1}, "c": [{"a": 2}]})";
  EXPECT_EQ(scan_json(text, {}).keys, 4);
  EXPECT_EQ(broken_by(text, {.most_keys = 4}), Broken::none);
  EXPECT_EQ(broken_by(text, {.most_keys = 3}), Broken::keys);
}

TEST(JsonLimits, FindsKeysThatAnObjectHasTwice) {
  EXPECT_EQ(broken_by(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]})", {.unique_keys = true}), Broken::none);
  const JsonScan scan = scan_json(R"({"b": {"a": 1, "\u0061": 2}})", {.unique_keys = true});
  EXPECT_EQ(scan.broken, Broken::repeated_key);
  EXPECT_EQ(scan.key, "a");
}

TEST(JsonLimits, LeavesWhatIsNoJsonToTheParser) {
  for (const char* text : {"", "{", "{\"a\": 1e999}", "\xff", "[1,]"}) EXPECT_EQ(broken_by(text, {}), Broken::none);
}

TEST(JsonLimits, TakesLinearTime) {
  std::string text = "[{}";
  for (int i = 0; i < 300'000; ++i) text += ",{}";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(broken_by(text + "]", {.unique_keys = true}), Broken::none);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace incontext::base
