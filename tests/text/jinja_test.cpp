// Templates against Jinja's sandbox as transformers sets it up (tools/make_golden_jinja.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/exact_json.h"
#include "text/chat_template.h"
#include "text/golden.h"
#include "text/template_functions.h"
#include "text/template_syntax.h"

namespace incontext::text {
namespace {

using base::Json;

Json read_ordered(const char* name) {
  std::ifstream file(golden_folder() / "jinja" / name);
  return base::parse_exact_json(std::string(std::istreambuf_iterator<char>(file), {}));
}

std::string rendered(const std::string& source, const Json& variables) {
  return ChatTemplate(source, "t").render(variables.at("messages"), variables.at("tools"), false, variables);
}

TEST(Jinja, TemplatesComeOutAsFromTheReference) {
  const Json golden = read_ordered("cases.json");
  size_t texts = 0, failures = 0;
  for (const Json& row : golden["rows"]) {
    const auto source = row[0].get<std::string>();
    SCOPED_TRACE(source);
    try {
      const std::string text = rendered(source, golden["variables"]);
      if (row[1].is_null()) {
        ADD_FAILURE() << "expected an error, got " << text;
      } else {
        EXPECT_EQ(text, row[1].get<std::string>());
      }
      ++texts;
    } catch (const base::Error& error) {
      EXPECT_TRUE(row[1].is_null()) << error.what() << "\nexpected " << row[1];
      ++failures;
    }
  }
  EXPECT_GT(texts, 700U);
  EXPECT_GT(failures, 100U);
}

// ---- What Jinja has and what we have, entry by entry ----

using Reasons = std::map<std::string, const char*>;

constexpr const char* kHtml = "makes HTML, which no prompt is";
constexpr const char* kRandom = "a prompt must come out the same every time";
constexpr const char* kLoader = "templates stand alone: transformers gives them no loader, and none extends another";
constexpr const char* kBytes = "there is no type for bytes";
constexpr const char* kChanges = "changes its value, which the sandbox refuses";
constexpr const char* kNumberParts = "parts of numbers, of no use in a prompt";

// Every name that Jinja has is one of ours or left out with a reason, none is both, and we have none beside them.
void expect_covered(const char* what, const Json& theirs, std::vector<std::string> ours, const Reasons& left_out,
                    const std::vector<std::string>& of_transformers = {}) {
  SCOPED_TRACE(what);
  std::sort(ours.begin(), ours.end());
  std::vector<std::string> all = of_transformers;
  for (const Json& one : theirs) {
    const auto name = one.get<std::string>();
    all.push_back(name);
    const bool is_ours = std::binary_search(ours.begin(), ours.end(), name);
    EXPECT_NE(is_ours, left_out.contains(name))
        << "'" << name << "' is " << (is_ours ? "ours and left out" : "missing");
  }
  std::sort(all.begin(), all.end());
  for (const std::string& name : ours) {
    EXPECT_TRUE(std::binary_search(all.begin(), all.end(), name)) << "'" << name << "' is ours alone";
  }
  for (const auto& [name, reason] : left_out) {
    EXPECT_TRUE(std::binary_search(all.begin(), all.end(), name)) << "'" << name << "' is left out of nothing";
  }
}

TEST(Jinja, FiltersTestsAndGlobalsAreTheirs) {
  const Json names = read_ordered("names.json");
  expect_covered("filters", names["filters"], filter_names(),
                 {{"pprint", "breaks lines as Python's module of that name does, for people who look for mistakes"},
                  {"random", kRandom},
                  {"striptags", kHtml},
                  {"urlize", kHtml},
                  {"wordwrap", "breaks lines as Python's textwrap does; no template that we know asks for it"},
                  {"xmlattr", kHtml}});
  expect_covered("tests", names["tests"], test_names(),
                 {{"escaped", "tells texts that are HTML, and nothing is escaped in a prompt"}});
  expect_covered("globals", names["globals"], global_names(), {{"lipsum", kRandom}});
}

TEST(Jinja, StatementsAreTheirs) {
  const Json names = read_ordered("names.json");
  expect_covered("statements", names["statements"], statement_names(),
                 {{"autoescape", kHtml},
                  {"endautoescape", kHtml},
                  {"block", kLoader},
                  {"endblock", kLoader},
                  {"extends", kLoader},
                  {"from", kLoader},
                  {"import", kLoader},
                  {"include", kLoader}});
}

TEST(Jinja, MethodsArePythons) {
  const Json names = read_ordered("names.json");
  const Reasons numbers = {{"as_integer_ratio", kNumberParts},
                           {"conjugate", kNumberParts},
                           {"denominator", kNumberParts},
                           {"from_bytes", kBytes},
                           {"imag", kNumberParts},
                           {"numerator", kNumberParts},
                           {"real", kNumberParts},
                           {"to_bytes", kBytes},
                           {"bit_count", kNumberParts}};
  Reasons reals = {{"as_integer_ratio", kNumberParts},
                   {"conjugate", kNumberParts},
                   {"fromhex", kNumberParts},
                   {"hex", kNumberParts},
                   {"imag", kNumberParts},
                   {"real", kNumberParts}};
  expect_covered("str", names["str"], method_names("x"),
                 {{"encode", kBytes},
                  {"maketrans", "makes tables for translate()"},
                  {"translate", "no template that we know asks for it; replace() does what they need"}});
  expect_covered("list", names["list"], method_names(Value::list({})),
                 {{"append", kChanges},
                  {"clear", kChanges},
                  {"extend", kChanges},
                  {"insert", kChanges},
                  {"pop", kChanges},
                  {"remove", kChanges},
                  {"reverse", kChanges},
                  {"sort", kChanges}});
  expect_covered("tuple", names["tuple"], method_names(Value::list({}, ListKind::tuple)), {});
  expect_covered("range", names["range"], method_names(Value::range({}, 0, 0, 1)),
                 {{"start", kNumberParts}, {"step", kNumberParts}, {"stop", kNumberParts}});
  expect_covered(
      "dict", names["dict"], method_names(Value::dictionary({})),
      {{"clear", kChanges}, {"pop", kChanges}, {"popitem", kChanges}, {"setdefault", kChanges}, {"update", kChanges}});
  // Python 3.12 gave whole numbers is_integer(), too.
  expect_covered("int", names["int"], method_names(int64_t{1}), numbers, {"is_integer"});
  expect_covered("float", names["float"], method_names(1.5), reals);
}

// What has attributes of its own: all of them are there.
TEST(Jinja, AttributesAreTheirs) {
  const Json names = read_ordered("names.json");
  const auto all_defined = [&](const char* what, const std::string& before, const std::string& after) {
    for (const Json& name : names[what]) {
      const auto attribute = name.get<std::string>();
      // In the middle of a loop every attribute has a value.
      EXPECT_EQ(
          rendered(before + "{{ x." + attribute + " is defined }}" + after, Json{{"messages", {}}, {"tools", nullptr}}),
          "True")
          << what << "." << attribute;
    }
  };
  all_defined("loop", "{% for i in [1, 2, 3] %}{% if loop.index == 2 %}{% set x = loop %}", "{% endif %}{% endfor %}");
  all_defined("macro", "{% macro x() %}{% endmacro %}", "");
  all_defined("cycler", "{% set x = cycler(1, 2) %}", "");
}

}  // namespace
}  // namespace incontext::text
