#include <algorithm>
#include <cmath>
#include <map>

#include "text/template_functions.h"

namespace incontext::text {
namespace {

using Budget = TemplateBudget;
using Method = Value (*)(const Value&, Arguments&, Budget&);
using Methods = std::map<std::string, Method, std::less<>>;

Value view_of(const Dictionary& dictionary, ListKind kind) {
  std::vector<Value> out;
  for (const auto& [key, value] : dictionary.entries) {
    if (kind == ListKind::keys) {
      out.push_back(key);
    } else if (kind == ListKind::values) {
      out.push_back(value);
    } else {
      out.push_back(Value::list({key, value}, ListKind::tuple));
    }
  }
  return Value::list(std::move(out), kind);
}

Value get(const Value& value, Arguments& arguments, Budget&) {
  const Value key = arguments.require("key");
  check_key(key);
  const Value fallback = arguments.take("default").value_or(None{});
  const Value* found = value.entries()->find(key);
  return found == nullptr ? fallback : *found;
}

// dict.fromkeys(keys, value): whatever dictionary it is called on.
Value fromkeys(const Value&, Arguments& arguments, Budget& budget) {
  const std::vector<Value> keys = iterate(arguments.require("iterable"), budget);
  const Value value = arguments.take("value").value_or(None{});
  budget.charge(1 + keys.size());
  std::vector<std::pair<Value, Value>> entries;
  for (const Value& key : keys) entries.emplace_back(key, value);
  return Value::dictionary(std::move(entries));
}

Value copy(const Value& value, Arguments&, Budget&) { return value; }  // values do not change

Value count(const Value& value, Arguments& arguments, Budget& budget) {
  const Value wanted = arguments.require("value");
  budget.charge_walk(value);
  const auto& items = *value.items();
  return static_cast<int64_t>(
      std::count_if(items.begin(), items.end(), [&](const Value& item) { return values_equal(item, wanted); }));
}

Value index(const Value& value, Arguments& arguments, Budget& budget) {
  const Value wanted = arguments.require("value");
  budget.charge_walk(value);
  const auto& items = *value.items();
  const auto size = static_cast<int64_t>(items.size());
  const auto place = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size); };
  const int64_t begin = place(arguments.integer_or("start", 0)), end = place(arguments.integer_or("stop", size));
  for (int64_t i = begin; i < end; ++i) {
    if (values_equal(items[static_cast<size_t>(i)], wanted)) return i;
  }
  template_fail("index: the {} does not hold the value", value.type_name());
}

Value bit_length(const Value& value, Arguments&, Budget&) { return static_cast<int64_t>(value.whole()->bits()); }

Value is_whole_number(const Value& value, Arguments&, Budget&) {
  const double* real = value.get<double>();
  return real == nullptr || (std::isfinite(*real) && *real == std::trunc(*real));
}

const Methods& methods_of(const Value& receiver) {
  static const Methods none, of_tuples = {{"count", count}, {"index", index}},
                             of_lists = {{"copy", copy}, {"count", count}, {"index", index}},
                             of_reals = {{"is_integer", is_whole_number}},
                             of_numbers = {{"bit_length", bit_length}, {"is_integer", is_whole_number}};
  static const Methods of_dictionaries = {
      {"copy", copy},
      {"fromkeys", fromkeys},
      {"get", get},
      {"items", [](const Value& v, Arguments&, Budget&) { return view_of(*v.entries(), ListKind::pairs); }},
      {"keys", [](const Value& v, Arguments&, Budget&) { return view_of(*v.entries(), ListKind::keys); }},
      {"values", [](const Value& v, Arguments&, Budget&) { return view_of(*v.entries(), ListKind::values); }},
  };
  if (receiver.entries() != nullptr) return of_dictionaries;
  if (receiver.is_list()) return of_lists;
  if (receiver.is_tuple() || (receiver.list() != nullptr && receiver.list()->kind == ListKind::range)) return of_tuples;
  if (receiver.get<double>() != nullptr) return of_reals;
  return receiver.whole() ? of_numbers : none;
}

}  // namespace

bool has_method(const Value& receiver, const std::string& name) {
  return receiver.is_string() ? text_methods().contains(name) : methods_of(receiver).contains(name);
}

std::vector<std::string> method_names(const Value& receiver) {
  std::vector<std::string> out;
  if (receiver.is_string()) {
    for (const auto& [name, method] : text_methods()) out.push_back(name);
  }
  for (const auto& [name, method] : methods_of(receiver)) out.push_back(name);
  return out;
}

bool is_changing_method(const Value& receiver, const std::string& name) {
  static constexpr std::string_view kOfLists[] = {"append", "clear",  "extend",  "insert",
                                                  "pop",    "remove", "reverse", "sort"};
  static constexpr std::string_view kOfDictionaries[] = {"clear", "pop", "popitem", "setdefault", "update"};
  const auto holds = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  if (receiver.is_list()) return holds(kOfLists);
  return receiver.entries() != nullptr && holds(kOfDictionaries);
}

Value call_method(const Value& receiver, const std::string& name, Arguments arguments, TemplateBudget& budget) {
  budget.charge(arguments.weight());
  Value out;
  if (const std::string* text = receiver.string()) {
    budget.charge_bytes(text->size());
    out = text_methods().at(name)(*text, arguments, budget);
  } else {
    if (receiver.entries() != nullptr) budget.charge(1 + receiver.entries()->entries.size());
    out = methods_of(receiver).at(name)(receiver, arguments, budget);
  }
  arguments.finish();
  return out;
}

}  // namespace incontext::text
