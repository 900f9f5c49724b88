#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/exact_json.h"
#include "support/temporary_directory.h"

namespace incontext::text {
namespace {

using base::Json;

std::string render(const std::string& source, const Json& variables = Json::object()) {
  return ChatTemplate(source, "t").render(Json::array(), nullptr, false, variables);
}

std::string error_of(const std::string& source) {
  try {
    return "no error, but " + render(source);
  } catch (const base::Error& error) {
    return error.what();
  }
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  EXPECT_EQ(error_of("a\n{{ 1 +"), "t line 2: the tag has no '}}'");
  EXPECT_EQ(error_of("a\n\n{{ x.y.z }}"), "t line 3: 'x' is undefined");
  EXPECT_EQ(error_of("{% if x %}\n"), "t line 1: the block of line 1 has no 'endif'");
  EXPECT_EQ(error_of("\n{% include 'x' %}"),
            "t line 2: the tag 'include' is not supported, expected one of if, for, set, macro, call, filter, with, "
            "generation, print, break, continue and raw");
  EXPECT_EQ(error_of("{{ x | nonesuch }}"), "t line 1: the filter 'nonesuch' is not supported");
  EXPECT_EQ(error_of("{{ x is nonesuch }}"), "t line 1: the test 'nonesuch' is not supported");
  EXPECT_EQ(error_of("{{ 'a' + 1 }}"), "t line 1: str + int has no meaning");
  EXPECT_EQ(error_of("{{ 1 / 0 }}"), "t line 1: division by zero");
  EXPECT_EQ(error_of("{% set x = 1 %}{% set x.y = 2 %}"),
            "t line 1: 'x.y' cannot be set: only attributes of a namespace can");
  EXPECT_EQ(error_of("{{ {} | trim('1', 2, 3) }}"), "t line 1: trim: takes 1 arguments, got 3");
  EXPECT_EQ(error_of("{% macro f(a) %}{% endmacro %}\n{{ f(1, 2) }}"), "t line 2: f: takes 1 arguments, got 2");
  EXPECT_EQ(error_of("{{ 'x' }"), "t line 1: '}' closes nothing");
  EXPECT_EQ(error_of("{{ 'x }}"), "t line 1: the text has no closing quote");
  EXPECT_EQ(error_of("{% break %}"), "t line 1: 'break' stands outside a for block");
  EXPECT_EQ(error_of("{# a"), "t line 1: the comment has no end");
  EXPECT_EQ(error_of("{% raw %} a"), "t line 1: 'raw' has no 'endraw'");
  EXPECT_EQ(error_of("{{ nothing() }}"), "t line 1: 'nothing' is undefined and cannot be called");
  EXPECT_EQ(
      error_of("{{ [1].append(2) }}"),
      "t line 1: 'append' would change a list, which templates may not; write {% set space.x = space.x + [...] %} "
      "with a namespace");
}

TEST(ChatTemplate, RefusalIsTheTemplatesOwnMessage) {
  EXPECT_THROW(render("{{ raise_exception('No\\nsystem') }}"), TemplateRefusal);
  EXPECT_EQ(error_of("{{ raise_exception('No\\nsystem') }}"), "No system");
}

TEST(ChatTemplate, HostileTemplatesEndWithAnError) {
  const auto repeated = [](const std::string& text, int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += text;
    return out;
  };
  const std::string doubled =
      "{% set s = namespace(x=[1], y=[1]) %}{% for i in range(90) %}{% set s.x = [s.x, s.x] %}"
      "{% set s.y = [s.y, s.y] %}{% endfor %}";
  const std::string long_text = "{% set x = 'ab' * 999999 %}";
  const std::vector<std::string> hostile = {
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      "{{ range(10000000000) }}",
      "{{ 'x' * 10000000000 }}",
      "{{ [1] * 10000000000 }}",
      "{% set s = namespace(x='abcdefgh') %}{% for i in range(99) %}{% set s.x = s.x + s.x %}{% endfor %}",
      "{% set s = namespace(x='abcdefgh') %}{% for i in range(99) %}{% set s.x = s.x ~ s.x %}{% endfor %}",
      "{% set s = namespace(x='ab') %}{% for i in range(99) %}{% set s.x = s.x|replace('a', 'aa') %}{% endfor %}",
      "{% set s = namespace(x='ab') %}{% for i in range(99) %}{% set s.x = s.x.replace('', s.x) %}{% endfor %}",
      "{% set s = namespace(x=[]) %}{% for i in range(99999) %}{% set s.x = [s.x] %}{% endfor %}",
      "{% set s = namespace(x={}) %}{% for i in range(99999) %}{% set s.x = {'a': s.x} %}{% endfor %}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f(x) %}{{ f(x + x) }}{% endmacro %}{{ f('a') }}",
      "{{ " + repeated("(", 5000) + "1" + repeated(")", 5000) + " }}",
      "{{ " + repeated("[", 5000) + repeated("]", 5000) + " }}",
      "{{ " + repeated("not ", 5000) + "1 }}",
      "{{ " + repeated("-", 5000) + "1 }}",
      "{{ 1" + repeated(" + 1", 50000) + " }}",
      "{{ x" + repeated(".a", 50000) + " }}",
      "{{ x" + repeated("|trim", 50000) + " }}",
      "{{ 1" + repeated(" if 1 else 1", 5000) + " }}",
      repeated("{% if 1 %}", 5000) + repeated("{% endif %}", 5000),
      "{% if 0 %}" + repeated("{% elif 0 %}", 5000) + "{% endif %}",
      "{{ 2 ** 1000000 }}",
      "{{ 10 ** 4301 }}",
      "{{ 2 ** (2 ** 70) }}",
      "{{ " + repeated("9", 4301) + " }}",
      "{{ 0x" + repeated("f", 4000) + " }}",
      "{% set s = namespace(x=3) %}{% for i in range(99) %}{% set s.x = s.x * s.x %}{% endfor %}",
      "{% set x = 10 ** 4200 %}{% for i in range(99999) %}{% set y = x // 7 %}{% endfor %}",
      "{{ '%99999999d' % 1 }}",
      "{{ '%.99999f' % 1 }}",
      "{{ '{:99999999}'.format(1) }}",
      "{{ '{:.99999}'.format(1.5) }}",
      "{{ '" + repeated("{:", 5000) + repeated("}", 5000) + "'.format(1) }}",
      "{{ '" + repeated("{", 99999) + "'.format(1) }}",
      "{{ 'a'.center(10000000000) }}",
      "{{ 'a'.zfill(10000000000) }}",
      "{{ '\t'.expandtabs(10000000000) }}",
      "{{ 'a' | center(10000000000) }}",
      "{{ [1] | batch(10000000000, 1) | list }}",
      "{{ [1] | slice(10000000000, 1) | list }}",
      // Generators within generators, and one that would go through itself.
      "{% set s = namespace(x=[1]) %}{% for i in range(9999) %}{% set s.x = s.x | select %}{% endfor %}{{ s.x | list "
      "}}",
      "{% set s = namespace() %}{% set s.x = [s, s] | map(attribute='x') | map('list') %}{{ s.x | list }}",
      "{% set s = namespace(x=[1]) %}{% for i in range(9999) %}{% set t = namespace(x=s.x) %}"
      "{% set s.x = [t] | map(attribute='x') | map('list') %}{% endfor %}{{ s.x | list }}",
      "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}",
      "{% macro f() %}{{ caller() }}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{% call f() %}x{% endcall "
      "%}",
      "{% macro f() %}{{ f(*varargs, **kwargs) }}{% endmacro %}{{ f(*range(9999)) }}",
      "{{ 'a' | indent(1000000000) }}",
      "{{ {} | tojson(indent=1000000000) }}",
      "{{ namespace() }}",
      "{{ 1 | round(100000) }}",
      // What is held twice is written, compared and counted twice.
      doubled + "{{ s.x }}",
      doubled + "{{ '%s' % (s.x,) }}",
      doubled + "{{ '{}'.format(s.x) }}",
      doubled + "{{ [s.x, s.y] | groupby(0) }}",
      doubled + "{% for i in [s.x, s.y] %}{{ loop.changed(i) }}{% endfor %}",
      doubled + "{{ {1: s.x} == {1: s.y} }}",
      doubled + "{{ s.x ~ '' }}",
      doubled + "{{ s.x | string }}",
      doubled + "{{ s.x | tojson }}",
      doubled + "{{ s.x == s.y }}",
      doubled + "{{ s.x < s.y }}",
      doubled + "{{ s.x in [s.y] }}",
      doubled + "{{ s.x is eq(s.y) }}",
      doubled + "{{ [dict(a=s.x), dict(a=s.y)] | unique | list }}",
      doubled + "{{ [s.x, s.y] | sort }}",
      doubled + "{{ [s.x, s.y] | max }}",
      doubled + "{{ 'a'.startswith(s.x) }}",
      // Texts that are copied, searched or compared again and again.
      long_text + "{{ ([x] * 9999) | sort }}",
      long_text + "{{ ([x] * 9999) | min }}",
      long_text + "{{ ([x] * 9999) | map(attribute=0) | list }}",
      long_text + "{% for i in range(99999) %}{% if x is upper %}{% endif %}{% endfor %}",
      long_text + "{% for i in range(99999) %}{{ 'a'.find(x) }}{% endfor %}",
      long_text + "{{ range(9999) | tojson(indent=x, separators=[x, x]) }}",
      "{% set x = '\\n' * 4999990 %}{{ x | indent }}",
      "{{ 'a' | map(" + repeated("'map', ", 100000) + "'upper') | list }}",
  };
  for (const std::string& source : hostile) {
    EXPECT_THROW(render(source), base::Error) << source.substr(0, 80);
  }
}

TEST(ChatTemplate, SearchesTakeLinearTime) {
  // Every place of the text but the last looks like what is searched for, up to its end.
  EXPECT_EQ(
      render("{% set x = 'a' * 2000000 %}{% set y = x[:1000000] ~ 'b' %}{{ y in x }} {{ x.find(y) }} {{ x.count(y) }} "
             "{{ x.split(y) | length }} {{ x.replace(y, '') == x }} {{ (x ~ 'b').find(y) }}"),
      "False -1 0 1 True 1000000");
  EXPECT_EQ(render("{% set x = 'a' * 2000000 %}{% set y = 'b' ~ x[:1000000] %}{{ x.rfind(y) }} {{ (y ~ y).rfind(y) }}"),
            "-1 1000001");
  EXPECT_EQ(render("{{ ('b' * 999999).strip('a' * 999999 ~ 'b') | length }}"), "0");
}

TEST(ChatTemplate, NumbersBeyondTheLargestAreInfinite) {
  EXPECT_EQ(render("{{ 1e999 }} {{ -1e999 }} {{ 1e-999 }}"), "inf -inf 0.0");
}

TEST(ChatTemplate, OrderLooksAtTheFirstItemsThatDiffer) {
  EXPECT_EQ(
      render("{{ [none, 1] < [none, 2] }} {{ [[1, 2], 3] < [[1], 4] }} {{ [{}, 1] <= [{}, 1] }} {{ [1] < [1, 0] }}"),
      "True False True True");
  EXPECT_EQ(error_of("{{ [none] < [1] }}"), "t line 1: NoneType and int have no order");
}

TEST(ChatTemplate, WideNumbersTakeLinearTime) {
  EXPECT_EQ(render("{{ '{:0999999,}'.format(1) | length }} {{ ('%0999999d' % 1) | length }}"), "999999 999999");
}

TEST(ChatTemplate, WholeNumbersKeepTheirDigits) {
  EXPECT_EQ(render("{{ x }} {{ x | tojson }} {{ x == 18446744073709551615 }} {{ x + 1 }}", {{"x", UINT64_MAX}}),
            "18446744073709551615 18446744073709551615 True 18446744073709551616");
  const Json exact = base::parse_exact_json(R"({"x": {"minimum": -123456789012345678901234567890}})");
  EXPECT_EQ(render("{{ x | tojson }}", exact), R"({"minimum": -123456789012345678901234567890})");
}

TEST(ChatTemplate, WhatHoldsItselfIsLetGo) {  // leak checkers look at these
  EXPECT_EQ(
      render("{% macro f() %}{% set g = f %}{% macro h() %}{{ g is defined }}{% endmacro %}{{ h() }}{% endmacro %}"
             "{{ f() }}"),
      "True");
  EXPECT_EQ(render("{% for x in [1] recursive %}{{ loop.changed(loop) }}{% set l = loop %}{% endfor %}"), "True");
  EXPECT_EQ(render("{% set s = namespace() %}{% set s.g = [s] | map(attribute='g') %}ok"), "ok");
}

TEST(ChatTemplate, NamespacesMayHoldThemselves) {
  EXPECT_EQ(render("{% set s = namespace() %}{% set s.self = s %}{{ s.self.self == s }}"), "True");
  EXPECT_EQ(render("{% set s = namespace(n=none) %}{% for i in range(9999) %}{% set s.n = namespace(n=s.n) %}"
                   "{% endfor %}ok"),
            "ok");
}

TEST(ChatTemplate, DeepConversationsAreRefused) {
  Json deep = "x";
  for (int i = 0; i < 1000; ++i) deep = Json::array({deep});
  EXPECT_THROW(render("", {{"x", deep}}), base::Error);
}

TEST(ChatTemplate, MacrosSeeTheOutermostNamesOnly) {
  EXPECT_EQ(render("{% set a = 1 %}{% macro f() %}{{ a }}{{ b }}{% endmacro %}{% for b in [2] %}{{ f() }}{% endfor %}"),
            "1");
}

TEST(ChatTemplate, BytesThatAreNoTextAreReplaced) {
  EXPECT_EQ(render("\xFF{{ x }}", {{"x", "a\xFF"}}),
            "\xEF\xBF\xBD"
            "a\xEF\xBF\xBD");
}

class ChatTemplateFiles : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }
  std::string rendered(const Json& tools = nullptr, const std::string& name = "") {
    return ChatTemplates::open(folder_.path())->render(Json::array(), tools, false, Json::object(), name);
  }
  testing::TemporaryDirectory folder_;
};

TEST_F(ChatTemplateFiles, NoneIsNoError) { EXPECT_FALSE(ChatTemplates::open(folder_.path())); }

TEST_F(ChatTemplateFiles, TheConfigurationHoldsOneOrSeveral) {
  write("tokenizer_config.json", R"({"chat_template": "one {{ bos_token }}{{ eos_token }}", "bos_token": "<b>",
      "eos_token": {"content": "<e>"}})");
  EXPECT_EQ(rendered(), "one <b><e>");
  EXPECT_EQ(rendered(Json::array()), "one <b><e>");
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]})");
  EXPECT_EQ(rendered(), "d");
  EXPECT_EQ(rendered(Json::array()), "t");
  EXPECT_EQ(rendered(Json::array(), "default"), "d");
  try {
    rendered(nullptr, "rag");
    ADD_FAILURE() << "expected an error";
  } catch (const base::Error& error) {
    EXPECT_STREQ(error.what(), "there is no chat template 'rag', expected one of default and tool_use");
  }
}

TEST_F(ChatTemplateFiles, TheFileOfItsOwnComesFirst) {
  write("tokenizer_config.json", R"({"chat_template": "config"})");
  write("chat_template.jinja", "file\n");
  write("additional_chat_templates/tool_use.jinja", "tools");
  write("additional_chat_templates/._tool_use.jinja", "{% what macOS leaves beside files");
  EXPECT_EQ(rendered(), "file");
  EXPECT_EQ(rendered(Json::array()), "tools");
}

TEST_F(ChatTemplateFiles, ABrokenTemplateNamesItsFile) {
  write("chat_template.jinja", "\n{{ x | nonesuch }}");
  try {
    ChatTemplates::open(folder_.path());
    ADD_FAILURE() << "expected an error";
  } catch (const base::Error& error) {
    EXPECT_NE(std::string(error.what()).find("chat_template.jinja line 2: the filter 'nonesuch'"), std::string::npos);
  }
}

}  // namespace
}  // namespace incontext::text
