#include "base/exact_json.h"

#include <gtest/gtest.h>

namespace incontext::testing {
namespace {

using base::Json;

TEST(ExactJson, KeepsTheDigitsOfIntegersBeyond64Bits) {
  const Json json = base::parse_exact_json(
      R"({"a": [123456789012345678901234567890, -9223372036854775809, 18446744073709551615], "b": -9223372036854775808})");
  EXPECT_EQ(base::big_integer_digits(json["a"][0]), "123456789012345678901234567890");
  EXPECT_EQ(base::big_integer_digits(json["a"][1]), "-9223372036854775809");
  EXPECT_EQ(base::big_integer_digits(json["a"][2]), std::nullopt);
  EXPECT_EQ(json["a"][2], 18446744073709551615ull);
  EXPECT_EQ(json["b"].get<int64_t>(), INT64_MIN);
  const std::string long_one(base::kMostDigits, '7');
  EXPECT_EQ(base::big_integer_digits(base::parse_exact_json(long_one)), long_one);
  EXPECT_EQ(base::big_integer_digits(base::parse_exact_json("-" + long_one)), "-" + long_one);
}

// All else is what the library's own parser makes of it.
TEST(ExactJson, ReadsTheRestAsTheLibraryDoes) {
  for (const char* text : {"null", "true", "-0", "0.1", "1e22", "1.7976931348623157e308", "1e-400", "\"a\\u00e9\\n\"",
                           "[]", "{}", "[[], [1, [2, {}]], {\"a\": {\"b\": []}}]", "{\"b\": 1, \"a\": 2, \"b\": 3}",
                           "9007199254740993.0", "{\"a\": {\"b\": 1, \"c\": [1, 2]}, \"d\": null}"}) {
    EXPECT_EQ(base::parse_exact_json(text).dump(), Json::parse(text).dump()) << text;
    EXPECT_EQ(base::big_integer_digits(base::parse_exact_json(text)), std::nullopt) << text;
  }
}

template <class Parse>
size_t byte_of_mistake(const Parse& parse) {
  try {
    const Json parsed = parse();
  } catch (const Json::parse_error& error) {
    return error.byte;
  }
  return 0;
}

TEST(ExactJson, FailsAsTheLibraryDoes) {
  for (const std::string text : {"", "{", "[1,]", "01", "\"\xff\"", "{} {}"}) {
    const size_t expected = byte_of_mistake([&] { return Json::parse(text); });
    const size_t got = byte_of_mistake([&] { return base::parse_exact_json(text); });
    EXPECT_GT(got, 0u) << text;
    EXPECT_EQ(got, expected) << text;
  }
  EXPECT_THROW(base::parse_exact_json("1e400"), Json::out_of_range);
  EXPECT_THROW(base::parse_exact_json("[-1e5000]"), Json::out_of_range);
  EXPECT_THROW(base::parse_exact_json(std::string(base::kMostDigits + 1, '7')), Json::out_of_range);
  EXPECT_THROW(base::parse_exact_json(std::string(6000, '7')), Json::out_of_range);
}

}  // namespace
}  // namespace incontext::testing
