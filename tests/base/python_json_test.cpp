#include "base/python_json.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/config_node.h"

namespace incontext::base {
namespace {

TEST(PythonJson, ReadsTheConstantsOfPython) {
  const Json json = parse_python_json<Json>(R"({"a": Infinity, "b": [-Infinity, NaN, 1.5], "c": {"d":NaN}})");
  EXPECT_EQ(json["a"].get<double>(), INFINITY);
  EXPECT_EQ(json["b"][0].get<double>(), -INFINITY);
  EXPECT_TRUE(std::isnan(json["b"][1].get<double>()));
  EXPECT_EQ(json["b"][2], 1.5);
  EXPECT_TRUE(std::isnan(json["c"]["d"].get<double>()));
  EXPECT_EQ(parse_python_json<Json>("-Infinity").get<double>(), -INFINITY);
}

TEST(PythonJson, LeavesTextAlone) {
  const std::string text = R"({"NaN": "Infinity", "a\"": "\\\"NaN", "b\\": "-Infinity"})";
  EXPECT_EQ(parse_python_json<Json>(text), Json::parse(text));
  const Json json = parse_python_json<Json>(R"({"a": "an Infinity", "b": "\"NaN\\", "c": NaN})");
  EXPECT_EQ(json["a"], "an Infinity");
  EXPECT_EQ(json["b"], "\"NaN\\");
  EXPECT_TRUE(json["c"].is_number_float());
}

TEST(PythonJson, RefusesWhatPythonRefuses) {
  for (const char* text :
       {"Infinit", "+Infinity", "nan", "Infinity1", "1Infinity", "[NaN NaN]", "\"open", "\"\\", "-"}) {
    EXPECT_THROW(parse_python_json<Json>(text), Json::exception) << text;
  }
}

TEST(PythonJson, MessagesNameTheConstants) {
  EXPECT_EQ(json_text(Json(INFINITY)), "Infinity");
  EXPECT_EQ(json_text(Json(-INFINITY)), "-Infinity");
  EXPECT_EQ(json_text(Json(std::nan(""))), "NaN");
  EXPECT_EQ(json_text(Json(1.5)), "1.5");
}

}  // namespace
}  // namespace incontext::base
