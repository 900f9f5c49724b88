#include "base/options.h"

#include <limits>
#include <optional>

#include "support/errors.h"

namespace incontext::base {
namespace {

using testing::error_of;

struct InnerOptions {
  std::string name = "adam";
  double rate = 1e-3;
  template <class Visitor>
  void visit(Visitor& v) {
    v.field("name", name, "update rule", one_of({"adam", "adamw", "sgd"}));
    v.field("learning_rate", rate, "step size", positive());
  }
  std::string validate() const { return name == "sgd" && rate > 1 ? "learning_rate must be at most 1 for sgd" : ""; }
};

struct OuterOptions {
  int64_t steps = 100;
  uint64_t seed = 1;
  bool resume = false;
  double clip = 1;
  std::string title = "none";
  std::vector<int64_t> sizes = {1, 2};
  std::vector<std::string> names;
  std::vector<double> weights;
  std::optional<double> dropout;
  InnerOptions optimizer;
  template <class Visitor>
  void visit(Visitor& v) {
    v.field("steps", steps, "optimizer steps", between(1, 1e6));
    v.field("seed", seed, "of all random streams");
    v.field("resume", resume, "continue the run");
    v.field("clip", clip, "largest gradient norm", at_least(0));
    v.field("title", title, "free text");
    v.field("sizes", sizes, "list of sizes", at_least(0));
    v.field("names", names, "list of names");
    v.field("weights", weights, "list of weights");
    v.field("dropout", dropout, "none or a share", between(0, 1));
    v.group("optimizer", optimizer, "the update rule");
  }
};

OuterOptions read(const std::string& yaml, const std::vector<std::string>& assignments = {}) {
  ConfigNode node = parse_yaml(yaml, "a.yaml");
  for (const std::string& assignment : assignments) apply_assignment(node, assignment);
  OuterOptions options;
  read_options(node, options);
  return options;
}

std::string error_for(const std::string& yaml, const std::vector<std::string>& assignments = {}) {
  return error_of([&] { read(yaml, assignments); });
}

TEST(Options, AbsentKeysKeepTheirDefaults) {
  for (const char* yaml : {"", "{}", "# only a comment\n", "optimizer:\n"}) {
    const OuterOptions options = read(yaml);
    EXPECT_EQ(options.steps, 100);
    EXPECT_EQ(options.sizes, (std::vector<int64_t>{1, 2}));
    EXPECT_FALSE(options.dropout.has_value());
    EXPECT_EQ(options.optimizer.name, "adam");
  }
}

TEST(Options, ReadsEveryKindOfField) {
  const OuterOptions options = read(
      "steps: 1e3\nseed: 18446744073709551615\nresume: true\nclip: .inf\ntitle: 'a: b'\nsizes: [3, +4]\nnames: [x, "
      "'5']\n"
      "weights: []\ndropout: 0.5\noptimizer:\n  learning_rate: 2\n");
  EXPECT_EQ(options.steps, 1000);
  EXPECT_EQ(options.seed, std::numeric_limits<uint64_t>::max());
  EXPECT_TRUE(options.resume);
  EXPECT_EQ(options.clip, std::numeric_limits<double>::infinity());
  EXPECT_EQ(options.title, "a: b");
  EXPECT_EQ(options.sizes, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(options.names, (std::vector<std::string>{"x", "5"}));
  EXPECT_EQ(options.dropout, 0.5);
  EXPECT_EQ(options.optimizer.rate, 2.0);
  EXPECT_EQ(options.optimizer.name, "adam") << "a group keeps what is not told";
}

TEST(Options, WrongTypesNameLineFieldAndValue) {
  EXPECT_EQ(error_for("\nsteps: many"), "a.yaml:2: steps: expected a whole number from 1 to 1000000, got 'many'");
  EXPECT_CONTAINS(error_for("steps: 1.5"), "expected a whole number");
  EXPECT_CONTAINS(error_for("steps: [1]"), "got a list");
  EXPECT_CONTAINS(error_for("steps:"), "got nothing");
  EXPECT_CONTAINS(error_for("steps: +-5"), "got '+-5'");
  EXPECT_CONTAINS(error_for("seed: -1"), "expected a whole number");
  EXPECT_CONTAINS(error_for("steps: 99999999999999999999"), "expected a whole number");
  EXPECT_CONTAINS(error_for("resume: 1"), "expected true or false, got '1'");
  EXPECT_CONTAINS(error_for("clip: .nan"), "expected a number");
  EXPECT_CONTAINS(error_for("clip: 0x10"), "expected a number");
  EXPECT_CONTAINS(error_for("title: {a: 1}"), "expected text, got a mapping");
  EXPECT_CONTAINS(error_for("sizes: 3"), "expected a list such as [1, 2], got '3'");
  EXPECT_EQ(error_for("sizes: [1,\n  b]"), "a.yaml:2: sizes[1]: expected a whole number of at least 0, got 'b'");
  EXPECT_EQ(error_for("optimizer: adam"), "a.yaml:1: optimizer: expected 'key: value' entries, got 'adam'");
  EXPECT_EQ(error_for("- 1"), "a.yaml:1: options: expected 'key: value' entries, got a list");
}

TEST(Options, AQuotedNumberIsText) {
  EXPECT_CONTAINS(error_for("steps: '5'"), "expected a whole number");
  EXPECT_CONTAINS(error_for("clip: \"5\""), "expected a number");
  EXPECT_CONTAINS(error_for("resume: 'true'"), "expected true or false");
  EXPECT_CONTAINS(error_for("steps: !!str 5"), "expected a whole number");
  EXPECT_EQ(read("title: '5'").title, "5");
  EXPECT_EQ(read("title: 5").title, "5");
}

TEST(Options, OutOfRangeTellsTheRange) {
  EXPECT_CONTAINS(error_for("steps: 0"), "from 1 to 1000000, got '0'");
  EXPECT_CONTAINS(error_for("steps: 1000001"), "got '1000001'");
  EXPECT_EQ(read("steps: 1").steps, 1);
  EXPECT_EQ(read("steps: 1000000").steps, 1000000);
  EXPECT_CONTAINS(error_for("clip: -0.1"), "of at least 0");
  EXPECT_CONTAINS(error_for("optimizer: {learning_rate: 0}"), "above 0, got '0'");
  EXPECT_CONTAINS(error_for("dropout: 1.1"), "from 0 to 1");
  EXPECT_CONTAINS(error_for("sizes: [-1]"), "of at least 0");
  EXPECT_EQ(error_for("optimizer:\n  name: adamm"),
            "a.yaml:2: optimizer.name: expected one of adam, adamw and sgd, got 'adamm'; did you mean 'adam'?");
}

TEST(Options, UnknownKeysNameLineAndNearest) {
  EXPECT_EQ(error_for("seed: 1\nstpes: 5"), "a.yaml:2: unknown key 'stpes'; did you mean 'steps'?");
  EXPECT_EQ(error_for("optimizer:\n  learnig_rate: 5"),
            "a.yaml:2: unknown key 'optimizer.learnig_rate'; did you mean 'optimizer.learning_rate'?");
  EXPECT_EQ(error_for("optimizer:\n  q: 5"), "a.yaml:2: unknown key 'optimizer.q'; known here: name and learning_rate");
  EXPECT_EQ(error_for("", {"stepz=3"}), "--set stepz=3: unknown key 'stepz'; did you mean 'steps'?");
}

TEST(Options, ValidateIsAskedForEveryGroup) {
  EXPECT_EQ(error_for("optimizer:\n  name: sgd\n  learning_rate: 2"),
            "a.yaml:1: optimizer.learning_rate must be at most 1 for sgd");
  OuterOptions options;
  options.optimizer = {.name = "sgd", .rate = 3};
  EXPECT_CONTAINS(error_of([&] { read_options(parse_yaml("steps: 3", "b.yaml"), options); }), "at most 1 for sgd");
}

TEST(Options, NullClearsAnOptional) {
  OuterOptions options;
  options.dropout = 0.1;
  read_options(parse_yaml("dropout: null", "a.yaml"), options);
  EXPECT_FALSE(options.dropout.has_value());
}

TEST(Options, SurviveWritingAndReading) {
  OuterOptions options;
  options.steps = 77;
  options.seed = std::numeric_limits<uint64_t>::max();
  options.resume = true;
  options.clip = std::numeric_limits<double>::infinity();
  options.sizes = {};
  options.weights = {0.1, 1e-30, -std::numeric_limits<double>::infinity(), 1.0 / 3};
  options.dropout = 0.25;
  options.optimizer.rate = 1e-5;
  for (const char* text : {"plain",
                           "",
                           " spaced ",
                           "5",
                           "-1e3",
                           ".inf",
                           "true",
                           "null",
                           "~",
                           "a: b",
                           "a #b",
                           "#",
                           "- a",
                           "it's \"quoted\"",
                           "tab\tand\nline\r",
                           "[1, 2]",
                           "{a: 1}",
                           "*x",
                           "&x",
                           "!x",
                           "%x",
                           "@x",
                           "`x",
                           "|",
                           ">",
                           "?",
                           "\\n",
                           "ünï – 数",
                           "\x01",
                           "yes"}) {
    options.title = text;
    options.names = {text, "other"};
    const std::string yaml = json_to_yaml(options_to_json(options));
    const OuterOptions from_yaml = read(yaml);
    EXPECT_EQ(from_yaml.title, text) << yaml;
    EXPECT_EQ(from_yaml.names, options.names) << yaml;
    EXPECT_EQ(options_to_json(from_yaml), options_to_json(options)) << yaml;
    OuterOptions from_json;
    read_options(config_from_json(options_to_json(options), "config.json"), from_json);
    EXPECT_EQ(options_to_json(from_json), options_to_json(options));
  }
}

TEST(Options, AssignmentsWinOverTheFile) {
  const OuterOptions options =
      read("steps: 5\noptimizer: {name: sgd}", {"steps=7", "optimizer.learning_rate=0.5", "sizes=[9]", "title='8'"});
  EXPECT_EQ(options.steps, 7);
  EXPECT_EQ(options.optimizer.name, "sgd");
  EXPECT_EQ(options.optimizer.rate, 0.5);
  EXPECT_EQ(options.sizes, std::vector<int64_t>{9});
  EXPECT_EQ(options.title, "8");
  EXPECT_EQ(read("", {"steps=3"}).steps, 3) << "an empty file";
  for (const char* bad : {"steps", "=3", "a..b=3", ".steps=3", "steps.=3"}) {
    EXPECT_CONTAINS(error_for("", {bad}), std::string("--set ") + bad + ": expected name=value");
  }
  EXPECT_CONTAINS(error_for("", {"sizes=[1"}), "--set sizes=[1: not valid YAML");
}

TEST(Options, HelpNamesEveryField) {
  const std::string help = options_help<OuterOptions>();
  EXPECT_CONTAINS(help, "optimizer.learning_rate");
  EXPECT_CONTAINS(help, "step size (default 0.001; above 0)");
  EXPECT_CONTAINS(help, "one of adam, adamw and sgd");
  EXPECT_CONTAINS(help, "optimizer steps (default 100; from 1 to 1000000)");
}

enum class Rule { adam, adamw, sgd };
constexpr auto names_of(Rule) {
  using enum Rule;
  return std::to_array<EnumName<Rule>>({{adam, "adam"}, {adamw, "adam-w"}, {sgd, "sgd"}});
}

struct RuleOptions {
  Rule rule = Rule::adam;
  OneOrMore<Rule> pattern = {Rule::sgd};
  std::vector<Rule> list;
  std::optional<Rule> maybe;
  template <class Visitor>
  void visit(Visitor& v) {
    v.field("rule", rule, "update rule");
    v.field("pattern", pattern, "one or more");
    v.field("list", list, "any number");
    v.field("maybe", maybe, "one or none");
  }
};

RuleOptions read_rules(const std::string& yaml) {
  RuleOptions options;
  read_options(parse_yaml(yaml, "a.yaml"), options);
  return options;
}

TEST(EnumNames, NameAndValue) {
  static_assert(name_of(Rule::adamw) == std::string_view("adam-w"));
  static_assert(value_named<Rule>("adam-w") == Rule::adamw);
  EXPECT_FALSE(value_named<Rule>("adamw").has_value());
  EXPECT_EQ(all_names<Rule>(), (std::vector<std::string>{"adam", "adam-w", "sgd"}));
  static_assert(values_of<Rule>() == std::array{Rule::adam, Rule::adamw, Rule::sgd});
  EXPECT_DEATH(name_of(static_cast<Rule>(7)), "");
}

TEST(EnumOptions, AreReadAndWrittenByName) {
  const RuleOptions options = read_rules("rule: adam-w\npattern: [sgd, adam]\nlist: [adam, adam]\nmaybe: sgd");
  EXPECT_EQ(options.rule, Rule::adamw);
  EXPECT_EQ(options.pattern, (OneOrMore<Rule>{Rule::sgd, Rule::adam}));
  EXPECT_EQ(options.list, (std::vector<Rule>{Rule::adam, Rule::adam}));
  EXPECT_EQ(options.maybe, Rule::sgd);
  const Json expected = {
      {"rule", "adam-w"}, {"pattern", {"sgd", "adam"}}, {"list", {"adam", "adam"}}, {"maybe", "sgd"}};
  EXPECT_EQ(options_to_json(options), expected);
  EXPECT_EQ(json_to_yaml(expected), "rule: adam-w\npattern: [sgd, adam]\nlist: [adam, adam]\nmaybe: sgd\n");
  EXPECT_EQ(options_to_json(read_rules(json_to_yaml(expected))), expected);
  EXPECT_EQ(options_to_json(read_rules("pattern: adam"))["pattern"], "adam") << "a single one is no list";
  EXPECT_EQ(read_rules("").pattern, (OneOrMore<Rule>{Rule::sgd}));
  EXPECT_FALSE(read_rules("maybe: null").maybe.has_value());
}

TEST(EnumOptions, ErrorsNameTheLineTheChoicesAndTheNearest) {
  const auto error = [](const char* yaml) { return error_of([&] { read_rules(yaml); }); };
  EXPECT_EQ(error("\nrule: adam_w"),
            "a.yaml:2: rule: expected one of adam, adam-w and sgd, got 'adam_w'; did you mean 'adam-w'?");
  EXPECT_EQ(error("rule: [adam]"), "a.yaml:1: rule: expected one of adam, adam-w and sgd, got a list");
  EXPECT_EQ(error("rule:"), "a.yaml:1: rule: expected one of adam, adam-w and sgd, got nothing");
  EXPECT_EQ(error("pattern: sgdd"),
            "a.yaml:1: pattern: expected one of adam, adam-w and sgd, got 'sgdd'; did you mean 'sgd'?");
  EXPECT_EQ(error("list: [adam,\n  lion]"), "a.yaml:2: list[1]: expected one of adam, adam-w and sgd, got 'lion'");
  EXPECT_CONTAINS(error("maybe: x"), "maybe: expected one of");
}

TEST(EnumOptions, HelpNamesTheChoices) {
  const std::string help = options_help<RuleOptions>();
  EXPECT_CONTAINS(help, "update rule (default \"adam\"; one of adam, adam-w and sgd)");
  EXPECT_CONTAINS(help, "one or more (default \"sgd\"; one of adam, adam-w and sgd)");
  EXPECT_CONTAINS(help, "any number (default []; one of adam, adam-w and sgd)");
  EXPECT_CONTAINS(help, "one or none (default null; one of adam, adam-w and sgd)");
}

// `rate` was once `speed`, `inner` was a plain number, and `inner.deep.depth` was `depth`.
struct RenamedOptions {
  struct Deep {
    int64_t depth = 1;
    template <class Visitor>
    void visit(Visitor& v) {
      v.field("depth", depth, "depth");
    }
  };
  struct Inner {
    int64_t size = 1;
    Deep deep;
    template <class Visitor>
    void visit(Visitor& v) {
      v.field("size", size, "size");
      v.group("deep", deep, "deep");
    }
  };
  int64_t rate = 1;
  Inner inner;
  template <class Visitor>
  void visit(Visitor& v) {
    v.field("rate", rate, "rate");
    v.group("inner", inner, "inner");
  }
  static std::span<const OldName> old_names() {
    static constexpr auto kNames =
        std::to_array<OldName>({{"inner", "inner.size"}, {"speed", "rate"}, {"depth", "inner.deep.depth"}});
    return kNames;
  }
};
struct AroundOptions {
  RenamedOptions model;
  template <class Visitor>
  void visit(Visitor& v) {
    v.group("model", model, "in a group of its own");
  }
};

TEST(OldNames, AreReadAsTheNewOnes) {
  const auto read_around = [](const std::string& yaml) {
    AroundOptions options;
    read_options(parse_yaml(yaml, "a.yaml"), options);
    return options_to_json(options).dump();
  };
  const auto error = [&](const std::string& yaml) { return error_of([&] { read_around(yaml); }); };
  const char* expected = R"({"model":{"rate":3,"inner":{"size":4,"deep":{"depth":5}}}})";
  EXPECT_EQ(read_around("model: {rate: 3, inner: {size: 4, deep: {depth: 5}}}"), expected);
  EXPECT_EQ(read_around("model: {speed: 3, inner: 4, depth: 5}"), expected);
  EXPECT_EQ(read_around("model: {depth: 5, inner: {size: 4}, rate: 3}"), expected);
  EXPECT_EQ(read_around("model: {inner: {size: 4, deep: }, depth: 5, rate: 3}"), expected);
  EXPECT_EQ(error("model:\n  rate: 3\n  speed: 3"),
            "a.yaml:3: model.speed is an old name of model.rate, which a.yaml:2 gives too: expected one of them");
  EXPECT_EQ(error("model:\n  inner: {deep: 3}\n  depth: 5"),
            "a.yaml:2: model.inner.deep: expected 'key: value' entries, got '3'");
  EXPECT_EQ(error("model: {speed: x}"), "a.yaml:1: model.rate: expected a whole number, got 'x'");
  EXPECT_EQ(error("model: 3"), "a.yaml:1: model: expected 'key: value' entries, got '3'");
  EXPECT_EQ(error("speed: 3"), "a.yaml:1: unknown key 'speed'; known here: model");
}

// What it may hold depends on what is read of it first.
struct Shape {
  std::string kind = "dot";
  std::optional<double> radius;
  void read(const ConfigNode& node, const std::string& name) {
    const ConfigNode* given = node.find("kind");
    check(given != nullptr, "{}: {}: expected a kind", node.where, name);
    kind = given->scalar;
    if (const ConfigNode* size = node.find("radius")) {
      radius.emplace();
      detail::read_scalar(*size, name + ".radius", positive(), *radius);
    }
  }
  Json json() const { return radius ? Json{{"kind", kind}, {"radius", *radius}} : Json{{"kind", kind}}; }
};

struct ShapeOptions {
  Shape shape;
  template <class Visitor>
  void visit(Visitor& v) {
    v.field("shape", shape, "what is drawn");
  }
};

TEST(Options, AFieldMayReadItself) {
  ShapeOptions options;
  read_options(parse_yaml("shape: {kind: circle, radius: 2}", "a.yaml"), options);
  EXPECT_EQ(options_to_json(options), (Json{{"shape", {{"kind", "circle"}, {"radius", 2.0}}}}));
  EXPECT_EQ(error_of([&] { read_options(parse_yaml("\nshape: {radius: 2}", "a.yaml"), options); }),
            "a.yaml:2: shape: expected a kind");
  EXPECT_CONTAINS(error_of([&] { read_options(parse_yaml("shape:\n  kind: circle\n  radius: 0", "a.yaml"), options); }),
                  "a.yaml:3: shape.radius: expected a number above 0");
  EXPECT_CONTAINS(options_help<ShapeOptions>(), "what is drawn (default {\"kind\":\"dot\"})");
}

TEST(Options, OneOptionOfAFileIsReadByItsName) {
  const ConfigNode node = parse_yaml("steps: 7\noptimizer: {name: sgd}", "a.yaml");
  int64_t steps = 1;
  std::string name = "adam", title = "none";
  read_option(node, "steps", steps);
  read_option(node, "optimizer.name", name);
  read_option(node, "optimizer.title.text", title);
  EXPECT_EQ(steps, 7);
  EXPECT_EQ(name, "sgd");
  EXPECT_EQ(title, "none");
  EXPECT_CONTAINS(error_of([&] { read_option(node, "optimizer.name", steps); }), "a.yaml:2: optimizer.name: expected");
}

}  // namespace
}  // namespace incontext::base
