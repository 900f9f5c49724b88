#include <map>

#include "text/normalizer.h"
#include "text/template_functions.h"

namespace incontext::text {
namespace {

using Test = bool (*)(const Value&, Arguments&, TemplateBudget&);

bool is_integer(const Value& v) { return v.get<int64_t>() != nullptr; }
bool is_boolean(const Value& v) { return v.get<bool>() != nullptr; }

int64_t remainder(const Value& value, Arguments& arguments, int64_t divisor) {
  const int64_t number = integer_of(value, arguments.function());
  template_check(divisor != 0, "{}: division by zero", arguments.function());
  return divisor == -1 ? 0 : number % divisor;
}

bool stays_with(std::string (*change)(std::string_view), const Value& value, TemplateBudget& budget) {
  budget.charge_walk(value);
  const std::string text = to_text(value);
  return change(text) == text;
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
      {"iterable",
       [](V v, A, B) { return v.is_string() || v.items() != nullptr || v.entries() != nullptr || v.is_undefined(); }},
      {"sequence",
       [](V v, A, B) { return v.is_string() || v.items() != nullptr || v.entries() != nullptr || v.is_undefined(); }},
      {"number", [](V v, A, B) { return is_integer(v) || is_boolean(v) || v.get<double>() != nullptr; }},
      {"integer", [](V v, A, B) { return is_integer(v); }},
      {"float", [](V v, A, B) { return v.get<double>() != nullptr; }},
      {"boolean", [](V v, A, B) { return is_boolean(v); }},
      {"true", [](V v, A, B) { return is_boolean(v) && v.truth(); }},
      {"false", [](V v, A, B) { return is_boolean(v) && !v.truth(); }},
      {"callable", [](V v, A, B) { return v.function() != nullptr; }},
      {"in", [](V v, A a, B b) { return is_in(v, a.require("seq"), b); }},
      {"odd", [](V v, A a, B) { return remainder(v, a, 2) != 0; }},
      {"even", [](V v, A a, B) { return remainder(v, a, 2) == 0; }},
      {"divisibleby", [](V v, A a, B) { return remainder(v, a, integer_of(a.require("num"), "divisibleby")) == 0; }},
      {"sameas",
       [](V v, A a, B) {
         const Value other = a.require("other");
         return v.type_name() == other.type_name() && values_equal(v, other);
       }},
      {"lower", [](V v, A, B b) { return stays_with(to_lower, v, b); }},
      {"upper", [](V v, A, B b) { return stays_with(upper_text, v, b); }},
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

bool apply_test(const std::string& name, const Value& subject, Arguments arguments, TemplateBudget& budget) {
  budget.charge(1 + arguments.weight());  // also all that a comparison with them takes
  const bool out = tests().at(name)(subject, arguments, budget);
  arguments.finish();
  return out;
}

}  // namespace incontext::text
