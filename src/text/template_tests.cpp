#include <map>

#include "text/template_functions.h"

namespace incontext::text {
namespace {

using Test = bool (*)(const Value&, Arguments&, TemplateBudget&);

bool is_boolean(const Value& v) { return v.get<bool>() != nullptr; }

// Whether the value leaves this remainder.
bool leaves(const Value& value, const Value& divisor, int64_t remainder, TemplateBudget& budget) {
  return values_equal(apply_binary("%", value, divisor, budget), remainder);
}

bool is_iterable(const Value& v) {
  return v.is_string() || v.items() != nullptr || v.entries() != nullptr || v.is_undefined() ||
         v.generator() != nullptr || v.loop() != nullptr;
}

// What has a length and places, or keys.
bool is_sequence(const Value& v) {
  const List* list = v.list();
  return v.is_string() || v.entries() != nullptr || v.is_undefined() ||
         (list != nullptr && list->kind <= ListKind::range);
}

// Python's `is`, as far as a template can tell: objects by where they lie, numbers and texts by what they say.
bool is_same(const Value& one, const Value& two) {
  if (one.type_name() != two.type_name()) return false;
  if (one.items() != nullptr || one.entries() != nullptr) return one.identity() == two.identity();
  return values_equal(one, two);
}

bool is_callable(const Value& v) {
  const Function* function = v.function();
  // Calling what is undefined is a fault, but it has the means to be called.
  return (function != nullptr && function->kind != Function::Kind::cycler) || v.loop() != nullptr || v.is_undefined();
}

// Python's islower() and isupper() of the text.
bool has_case(const Value& value, const char* method, TemplateBudget& budget) {
  budget.charge_walk(value);
  return call_method(to_text(value), method, Arguments(method, {}, {}), budget).truth();
}

const std::map<std::string, Test, std::less<>>& tests() {
  using V = const Value&;
  using A = Arguments&;
  using B = TemplateBudget&;
  static const Test equal = [](V v, A a, B) { return values_equal(v, a.require("other")); };
  static const Test unequal = [](V v, A a, B) { return !values_equal(v, a.require("other")); };
  static const Test less = [](V v, A a, B) { return compare_values(v, a.require("other")) < 0; };
  static const Test less_or_equal = [](V v, A a, B) { return compare_values(v, a.require("other")) <= 0; };
  static const Test greater = [](V v, A a, B) { return compare_values(v, a.require("other")) > 0; };
  static const Test greater_or_equal = [](V v, A a, B) { return compare_values(v, a.require("other")) >= 0; };
  static const std::map<std::string, Test, std::less<>> table = {
      {"defined", [](V v, A, B) { return !v.is_undefined(); }},
      {"undefined", [](V v, A, B) { return v.is_undefined(); }},
      {"none", [](V v, A, B) { return v.is_none(); }},
      {"string", [](V v, A, B) { return v.is_string(); }},
      {"mapping", [](V v, A, B) { return v.entries() != nullptr; }},
      {"iterable", [](V v, A, B) { return is_iterable(v); }},
      {"sequence", [](V v, A, B) { return is_sequence(v); }},
      {"number", [](V v, A, B) { return v.is_integer() || is_boolean(v) || v.get<double>() != nullptr; }},
      {"integer", [](V v, A, B) { return v.is_integer(); }},
      {"float", [](V v, A, B) { return v.get<double>() != nullptr; }},
      {"boolean", [](V v, A, B) { return is_boolean(v); }},
      {"true", [](V v, A, B) { return is_boolean(v) && v.truth(); }},
      {"false", [](V v, A, B) { return is_boolean(v) && !v.truth(); }},
      {"callable", [](V v, A, B) { return is_callable(v); }},
      {"filter", [](V v, A, B) { return v.is_string() && is_filter(*v.string()); }},
      {"test", [](V v, A, B) { return v.is_string() && is_test(*v.string()); }},
      {"in", [](V v, A a, B b) { return is_in(v, a.require("seq"), b); }},
      {"odd", [](V v, A, B b) { return leaves(v, int64_t{2}, 1, b); }},
      {"even", [](V v, A, B b) { return leaves(v, int64_t{2}, 0, b); }},
      {"divisibleby", [](V v, A a, B b) { return leaves(v, a.require("num"), 0, b); }},
      {"sameas", [](V v, A a, B) { return is_same(v, a.require("other")); }},
      {"lower", [](V v, A, B b) { return has_case(v, "islower", b); }},
      {"upper", [](V v, A, B b) { return has_case(v, "isupper", b); }},
      {"equalto", equal},
      {"eq", equal},
      {"==", equal},
      {"ne", unequal},
      {"!=", unequal},
      {"lt", less},
      {"lessthan", less},
      {"<", less},
      {"le", less_or_equal},
      {"<=", less_or_equal},
      {"gt", greater},
      {"greaterthan", greater},
      {">", greater},
      {"ge", greater_or_equal},
      {">=", greater_or_equal},
  };
  return table;
}

}  // namespace

bool is_test(const std::string& name) { return tests().contains(name); }

std::vector<std::string> test_names() {
  std::vector<std::string> out;
  for (const auto& [name, test] : tests()) out.push_back(name);
  return out;
}

bool apply_test(const std::string& name, const Value& subject, Arguments arguments, TemplateBudget& budget) {
  budget.charge(1 + arguments.weight());  // also all that a comparison with them takes
  const bool out = tests().at(name)(subject, arguments, budget);
  arguments.finish();
  return out;
}

}  // namespace incontext::text
