#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "base/text.h"
#include "text/normalizer.h"
#include "text/template_functions.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

using Budget = TemplateBudget;
using Filter = Value (*)(const Value&, Arguments&, Budget&);

constexpr size_t kMaxMapArguments = 16;

std::string text_of(const Value& value, Budget& budget) {
  budget.charge_walk(value);
  return to_text(value);
}

// The value of "a.b" or "0" in an item.
Value path_of(const Value& item, const std::string& path, Budget& budget) {
  budget.charge(1 + path.size() / 16);
  Value out = item;
  for (const std::string& part : base::split(path, '.')) {
    const bool is_number =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
    out = item_of(out, is_number ? Value(int64_t{std::stoi(part)}) : Value(part), budget);
  }
  return out;
}

// What sorting and its kin look at: the attribute, and texts without regard to case.
Value key_of(const Value& item, const std::optional<std::string>& attribute, bool case_sensitive, Budget& budget) {
  Value out = attribute ? path_of(item, *attribute, budget) : item;
  if (case_sensitive || !out.is_string()) return out;
  budget.charge_walk(out);
  return to_lower(*out.string());
}

std::optional<std::string> attribute_argument(Arguments& arguments) {
  const auto found = arguments.take("attribute");
  if (!found || found->is_none()) return std::nullopt;
  return to_text(*found);
}

Value trim(const Value& value, Arguments& arguments, Budget& budget) {
  const auto characters = arguments.take("chars");
  const bool given = characters && !characters->is_none();
  return strip_text(text_of(value, budget), given ? to_text(*characters) : "", true, true);
}

Value tojson(const Value& value, Arguments& arguments, Budget& budget) {
  JsonStyle style;
  // As transformers' own: ensure_ascii, indent, separators, sort_keys.
  style.ascii_only = arguments.flag_or("ensure_ascii", false);
  const auto indent = arguments.take("indent");
  if (indent && !indent->is_none()) {
    style.lines = true;
    style.item_separator = ",";
    if (indent->is_string()) {
      style.indent = *indent->string();
    } else {
      const int64_t width = integer_of(*indent, "tojson: indent");
      template_check(width <= 64, "tojson: an indent of {} is too large", width);
      style.indent = std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
  }
  if (const auto separators = arguments.take("separators"); separators && !separators->is_none()) {
    const std::vector<Value> both = iterate(*separators, budget);
    template_check(both.size() == 2, "tojson: expected two separators, got {}", both.size());
    style.item_separator = to_text(both[0]);
    style.key_separator = to_text(both[1]);
  }
  style.sort_keys = arguments.flag_or("sort_keys", false);
  // Between two values there are a separator and an indent.
  const size_t between = style.item_separator.size() + style.key_separator.size() + style.indent.size() * value.depth();
  budget.charge_walk(value);
  budget.charge(value.weight() * (between / 64));
  return to_json(value, style);
}

Value length(const Value& value, Arguments&, Budget&) { return length_of(value); }

Value join(const Value& value, Arguments& arguments, Budget& budget) {
  const std::string separator = arguments.text_or("d", "");
  const auto attribute = attribute_argument(arguments);
  std::string out;
  bool first = true;
  for (const Value& item : iterate(value, budget)) {
    const std::string text = text_of(attribute ? path_of(item, *attribute, budget) : item, budget);
    budget.charge_bytes(text.size() + separator.size());
    if (!first) out += separator;
    first = false;
    out += text;
  }
  return out;
}

Value upper(const Value& value, Arguments&, Budget& budget) { return upper_text(text_of(value, budget)); }
Value lower(const Value& value, Arguments&, Budget& budget) { return to_lower(text_of(value, budget)); }
Value capitalize(const Value& value, Arguments&, Budget& budget) { return capitalized(text_of(value, budget)); }

// Jinja's own: words begin after white space, a hyphen or an opening bracket.
Value title(const Value& value, Arguments&, Budget& budget) {
  const std::string text = text_of(value, budget);
  std::string out, word;
  const auto finish = [&] {
    out += capitalized(word);
    word.clear();
  };
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    const std::string_view character = std::string_view(text).substr(i, c.size);
    if (is_whitespace(c.value) || std::string_view("-({[<").find(character) != std::string_view::npos) {
      finish();
      out += character;
    } else {
      word += character;
    }
    i += c.size;
  }
  finish();
  return out;
}

// select, reject, selectattr, rejectattr.
Value chosen(const Value& value, Arguments& arguments, bool by_attribute, bool keep, Budget& budget) {
  const std::string attribute = by_attribute ? arguments.text("attribute") : "";
  const std::string test = arguments.text_or("test", "");
  template_check(test.empty() || is_test(test), "{}: the test '{}' is not supported", arguments.function(), test);
  const std::vector<Value> rest = arguments.rest();
  std::vector<Value> out;
  for (const Value& item : iterate(value, budget)) {
    budget.charge(1 + rest.size());
    const Value subject = by_attribute ? path_of(item, attribute, budget) : item;
    const bool holds = test.empty() ? subject.truth() : apply_test(test, subject, Arguments(test, rest, {}), budget);
    if (holds == keep) out.push_back(item);
  }
  return Value::list(std::move(out));
}

Value select(const Value& v, Arguments& a, Budget& b) { return chosen(v, a, false, true, b); }
Value reject(const Value& v, Arguments& a, Budget& b) { return chosen(v, a, false, false, b); }
Value selectattr(const Value& v, Arguments& a, Budget& b) { return chosen(v, a, true, true, b); }
Value rejectattr(const Value& v, Arguments& a, Budget& b) { return chosen(v, a, true, false, b); }

Value map(const Value& value, Arguments& arguments, Budget& budget) {
  std::vector<Value> out;
  if (const auto attribute = arguments.take_named("attribute")) {
    const auto fallback = arguments.take_named("default");
    const std::string path = text_of(*attribute, budget);
    for (const Value& item : iterate(value, budget)) {
      budget.charge(1);
      Value found = path_of(item, path, budget);
      if (found.is_undefined() && fallback) found = *fallback;
      out.push_back(std::move(found));
    }
    return Value::list(std::move(out));
  }
  const std::string name = arguments.text("filter");
  template_check(is_filter(name), "map: the filter '{}' is not supported", name);
  const std::vector<Value> rest = arguments.rest();
  const auto named = arguments.rest_named();
  // map('map', 'map', ...) calls itself as often as it has arguments.
  template_check(rest.size() + named.size() <= kMaxMapArguments, "map: takes at most {} arguments", kMaxMapArguments);
  for (const Value& item : iterate(value, budget)) {
    out.push_back(apply_filter(name, item, Arguments(name, rest, named), budget));
  }
  return Value::list(std::move(out));
}

Value fallback(const Value& value, Arguments& arguments, Budget&) {
  Value other = arguments.take("default_value").value_or(Value(""));
  const bool also_false = arguments.flag_or("boolean", false);
  return value.is_undefined() || (also_false && !value.truth()) ? other : value;
}

Value list(const Value& value, Arguments&, Budget& budget) {
  std::vector<Value> out = iterate(value, budget);
  budget.charge(1 + out.size());
  return Value::list(std::move(out));
}

Value items(const Value& value, Arguments&, Budget& budget) {
  if (value.is_undefined()) return Value::list({});
  template_check(value.entries() != nullptr, "items: expected a dictionary, got {}", value.type_name());
  return call_method(value, "items", Arguments("items", {}, {}), budget);
}

Value first(const Value& value, Arguments&, Budget& budget) {
  if (value.items() != nullptr && !value.items()->empty()) return value.items()->front();
  const std::vector<Value> all = iterate(value, budget);
  return all.empty() ? Value::undefined("the first of nothing") : all.front();
}

Value last(const Value& value, Arguments&, Budget& budget) {
  if (value.items() != nullptr && !value.items()->empty()) return value.items()->back();
  const std::vector<Value> all = iterate(value, budget);
  return all.empty() ? Value::undefined("the last of nothing") : all.back();
}

Value replace(const Value& value, Arguments& arguments, Budget& budget) {
  const std::string from = arguments.text("old"), to = arguments.text("new");
  const auto count = arguments.take("count");
  return replace_in(text_of(value, budget), from, to,
                    count && !count->is_none() ? integer_of(*count, "replace: count") : -1, budget);
}

Value string(const Value& value, Arguments&, Budget& budget) { return text_of(value, budget); }

std::optional<double> real_of(const Value& value) {
  if (const bool* flag = value.get<bool>()) return *flag ? 1.0 : 0.0;
  if (const int64_t* number = value.get<int64_t>()) return static_cast<double>(*number);
  if (const double* number = value.get<double>()) return *number;
  if (!value.is_string()) return std::nullopt;
  const std::string text = strip_text(*value.string(), "", true, true);
  const std::string_view digits = std::string_view(text).substr(text.starts_with('+') ? 1 : 0);
  double out = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), out);
  if (digits.empty() || result.ec != std::errc{} || result.ptr != digits.data() + digits.size()) return std::nullopt;
  return out;
}

Value integer(const Value& value, Arguments& arguments, Budget&) {
  const Value other = arguments.take("default").value_or(int64_t{0});
  const int64_t base = arguments.integer_or("base", 10);
  template_check(base >= 2 && base <= 36, "int: the base is {}, expected 2 to 36", base);
  if (value.is_string()) {
    const std::string text = strip_text(*value.string(), "", true, true);
    const std::string_view digits = std::string_view(text).substr(text.starts_with('+') ? 1 : 0);
    int64_t out = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), out, static_cast<int>(base));
    if (!digits.empty() && result.ec == std::errc{} && result.ptr == digits.data() + digits.size()) return out;
  }
  if (value.get<int64_t>() != nullptr) return value;
  const auto number = real_of(value);
  if (!number || !std::isfinite(*number) || std::abs(*number) > 9e18) return other;
  return static_cast<int64_t>(*number);
}

Value real(const Value& value, Arguments& arguments, Budget&) {
  const Value other = arguments.take("default").value_or(0.0);
  const auto number = real_of(value);
  return number ? Value(*number) : other;
}

Value round(const Value& value, Arguments& arguments, Budget&) {
  const int64_t precision = arguments.integer_or("precision", 0);
  const std::string method = arguments.text_or("method", "common");
  const auto found = real_of(value);
  template_check(found && !value.is_string(), "round: expected a number, got {}", value.type_name());
  const double number = found.value_or(0);
  template_check(method == "common" || method == "ceil" || method == "floor", "round: expected common, ceil or floor");
  template_check(std::abs(precision) <= 300, "round: a precision of {} is too large", precision);
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return std::ceil(number * scale) / scale;
  if (method == "floor") return std::floor(number * scale) / scale;
  // Python rounds the decimal digits correctly, halves to even; so does printing them.
  if (precision >= 0) return std::stod(fmt::format("{:.{}f}", number, precision));
  return std::nearbyint(number * scale) / scale;
}

Value reverse(const Value& value, Arguments&, Budget& budget) {
  std::vector<Value> all = iterate(value, budget);
  budget.charge(1 + all.size());
  std::reverse(all.begin(), all.end());
  if (!value.is_string()) return Value::list(std::move(all));
  std::string text;
  for (const Value& character : all) text += *character.string();
  return text;
}

void sort_by(std::vector<Value>& values, const std::vector<std::optional<std::string>>& attributes, bool case_sensitive,
             bool reverse_order, Budget& budget) {
  struct Row {
    std::vector<Value> keys;
    Value value;
  };
  std::vector<Row> rows;
  for (Value& value : values) {
    Row row;
    for (const auto& attribute : attributes) {
      row.keys.push_back(key_of(value, attribute, case_sensitive, budget));
      budget.charge_walk(row.keys.back());
    }
    row.value = std::move(value);
    rows.push_back(std::move(row));
  }
  budget.charge(1 + rows.size() * 20);
  std::stable_sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) {
    for (size_t i = 0; i < a.keys.size(); ++i) {
      const int order = compare_values(a.keys[i], b.keys[i]);
      if (order != 0) return reverse_order ? order > 0 : order < 0;
    }
    return false;
  });
  for (size_t i = 0; i < rows.size(); ++i) values[i] = std::move(rows[i].value);
}

Value sort(const Value& value, Arguments& arguments, Budget& budget) {
  const bool reverse_order = arguments.flag_or("reverse", false);
  const bool case_sensitive = arguments.flag_or("case_sensitive", false);
  std::vector<std::optional<std::string>> attributes;
  if (const auto attribute = attribute_argument(arguments)) {
    for (const std::string& one : base::split(*attribute, ',')) attributes.emplace_back(one);
  } else {
    attributes.emplace_back(std::nullopt);
  }
  std::vector<Value> all = iterate(value, budget);
  sort_by(all, attributes, case_sensitive, reverse_order, budget);
  return Value::list(std::move(all));
}

Value unique(const Value& value, Arguments& arguments, Budget& budget) {
  const bool case_sensitive = arguments.flag_or("case_sensitive", false);
  const auto attribute = attribute_argument(arguments);
  std::vector<Value> out, keys;
  for (const Value& item : iterate(value, budget)) {
    Value key = key_of(item, attribute, case_sensitive, budget);
    budget.charge(1 + keys.size() * key.weight());
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& known) { return values_equal(known, key); })) continue;
    keys.push_back(std::move(key));
    out.push_back(item);
  }
  return Value::list(std::move(out));
}

Value indent(const Value& value, Arguments& arguments, Budget& budget) {
  const Value width = arguments.take("width").value_or(int64_t{4});
  const bool first_too = arguments.flag_or("first", false), blank_too = arguments.flag_or("blank", false);
  std::string space;
  if (width.is_string()) {
    space = *width.string();
  } else {
    const int64_t count = integer_of(width, "indent: width");
    template_check(count <= 1000, "indent: a width of {} is too large", count);
    space = std::string(static_cast<size_t>(std::max<int64_t>(count, 0)), ' ');
  }
  std::string out = first_too ? space : "";
  bool first_line = true;
  const std::string text = text_of(value, budget);
  budget.charge(
      static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; })));
  for (const std::string& line : lines_of(text + "\n")) {
    budget.charge_bytes(line.size() + space.size());
    if (!first_line) out += "\n" + (line.empty() && !blank_too ? "" : space);
    first_line = false;
    out += line;
  }
  return out;
}

Value safe(const Value& value, Arguments&, Budget&) { return value; }

Value dictsort(const Value& value, Arguments& arguments, Budget& budget) {
  const bool case_sensitive = arguments.flag_or("case_sensitive", false);
  const std::string by = arguments.text_or("by", "key");
  const bool reverse_order = arguments.flag_or("reverse", false);
  template_check(by == "key" || by == "value", "dictsort: expected by key or value, got '{}'", by);
  std::vector<Value> pairs = iterate(items(value, arguments, budget), budget);
  sort_by(pairs, {by == "key" ? "0" : "1"}, case_sensitive, reverse_order, budget);
  return Value::list(std::move(pairs));
}

Value sum(const Value& value, Arguments& arguments, Budget& budget) {
  const auto attribute = attribute_argument(arguments);
  Value out = arguments.take("start").value_or(int64_t{0});
  for (const Value& item : iterate(value, budget)) {
    out = apply_binary("+", out, attribute ? path_of(item, *attribute, budget) : item, budget);
  }
  return out;
}

Value extreme(const Value& value, Arguments& arguments, int sign, Budget& budget) {
  const bool case_sensitive = arguments.flag_or("case_sensitive", false);
  const auto attribute = attribute_argument(arguments);
  const std::vector<Value> all = iterate(value, budget);
  if (all.empty()) return Value::undefined("an extreme of nothing");
  const Value* best = &all.front();
  Value best_key = key_of(*best, attribute, case_sensitive, budget);
  for (size_t i = 1; i < all.size(); ++i) {
    Value key = key_of(all[i], attribute, case_sensitive, budget);
    budget.charge_comparison(key, best_key);
    if (compare_values(key, best_key) * sign <= 0) continue;
    best = &all[i];
    best_key = std::move(key);
  }
  return *best;
}

Value min(const Value& value, Arguments& arguments, Budget& budget) { return extreme(value, arguments, -1, budget); }
Value max(const Value& value, Arguments& arguments, Budget& budget) { return extreme(value, arguments, 1, budget); }

Value abs(const Value& value, Arguments&, Budget& budget) {
  if (const double* number = value.get<double>()) return std::abs(*number);
  const int64_t number = integer_of(value, "abs");
  return number < 0 ? apply_binary("-", int64_t{0}, number, budget) : Value(number);
}

// <, >, &, ' and " as entities of HTML.
Value escape(const Value& value, Arguments&, Budget& budget) {
  std::string out;
  const std::string text = text_of(value, budget);
  budget.charge_bytes(text.size() * std::string_view("&quot;").size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

const std::map<std::string, Filter, std::less<>>& filters() {
  static const std::map<std::string, Filter, std::less<>> table = {
      {"trim", trim},
      {"tojson", tojson},
      {"length", length},
      {"count", length},
      {"join", join},
      {"upper", upper},
      {"lower", lower},
      {"title", title},
      {"select", select},
      {"reject", reject},
      {"selectattr", selectattr},
      {"rejectattr", rejectattr},
      {"map", map},
      {"default", fallback},
      {"d", fallback},
      {"list", list},
      {"items", items},
      {"first", first},
      {"last", last},
      {"replace", replace},
      {"string", string},
      {"int", integer},
      {"float", real},
      {"round", round},
      {"reverse", reverse},
      {"sort", sort},
      {"unique", unique},
      {"indent", indent},
      {"safe", safe},
      {"dictsort", dictsort},
      {"sum", sum},
      {"min", min},
      {"max", max},
      {"abs", abs},
      {"capitalize", capitalize},
      {"escape", escape},
      {"e", escape},
  };
  return table;
}

}  // namespace

bool is_filter(const std::string& name) { return filters().contains(name); }

Value apply_filter(const std::string& name, const Value& subject, Arguments arguments, TemplateBudget& budget) {
  budget.charge_bytes(subject.is_string() ? subject.string()->size() : 0);
  budget.charge(arguments.weight());
  Value out = filters().at(name)(subject, arguments, budget);
  arguments.finish();
  return out;
}

}  // namespace incontext::text
