#include <algorithm>
#include <cmath>

#include "text/template_filters.h"

namespace incontext::text {
namespace {

using Budget = TemplateBudget;

void check_defined(const Value& value, const Arguments& arguments) {
  template_check(!value.is_undefined(), "{}: the value is undefined", arguments.function());
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

Value fallback(const Value& value, Arguments& arguments, Budget&) {
  Value other = arguments.take("default_value").value_or(Value(""));
  const bool also_false = arguments.flag_or("boolean", false);
  return value.is_undefined() || (also_false && !value.truth()) ? other : value;
}

// Of what Python's float() takes; nothing of the rest.
std::optional<double> number_of(const Value& value) {
  if (value.is_string()) return real_number_in(*value.string());
  if (const double* number = value.get<double>()) return *number;
  const auto whole = value.whole();
  if (!whole) return std::nullopt;
  const double out = whole->real();
  template_check(std::isfinite(out), "a whole number is too large for a real one");
  return out;
}

Value integer(const Value& value, Arguments& arguments, Budget& budget) {
  check_defined(value, arguments);
  const Value other = arguments.take("default").value_or(int64_t{0});
  const Value base = arguments.take("base").value_or(int64_t{10});
  if (value.is_string()) {
    budget.charge_bytes(value.string()->size() * 64);
    // Another base is none: the text is read as a real number, as where its digits are wrong.
    const int64_t number = base.get<int64_t>() != nullptr ? *base.get<int64_t>() : -1;
    const bool is_base = number == 0 || (number >= 2 && number <= 36);
    const auto found = is_base ? whole_number_in(*value.string(), static_cast<int>(number)) : std::nullopt;
    if (found) return Value::integer(*found);
  }
  if (const auto whole = value.whole()) return Value::integer(*whole);
  const auto real = number_of(value);
  if (!real || std::isnan(*real) || (std::isinf(*real) && value.is_string())) return other;
  template_check(!std::isinf(*real), "int: infinity is no whole number");
  return Value::integer(BigInteger::truncated(*real));
}

Value real(const Value& value, Arguments& arguments, Budget&) {
  check_defined(value, arguments);
  const Value other = arguments.take("default").value_or(0.0);
  const auto number = number_of(value);
  return number ? Value(*number) : other;
}

// Python's round() of a whole number: to tens, hundreds and so on, halves to the even one.
Value rounded_whole(const BigInteger& number, int64_t precision) {
  if (precision >= 0) return Value::integer(number);
  BigInteger unit(1);
  for (int64_t i = precision; i < 0; ++i) unit = BigInteger::product(unit, BigInteger(10));
  auto [quotient, rest] = BigInteger::divided(number, unit);
  const int order = BigInteger::compare(BigInteger::sum(rest, rest), unit);
  if (order > 0 || (order == 0 && quotient.odd())) quotient = BigInteger::sum(quotient, BigInteger(1));
  return Value::integer(BigInteger::product(quotient, unit));
}

Value round(const Value& value, Arguments& arguments, Budget&) {
  const int64_t precision = arguments.integer_or("precision", 0);
  const std::string method = arguments.text_or("method", "common");
  template_check(method == "common" || method == "ceil" || method == "floor", "round: expected common, ceil or floor");
  template_check(std::abs(precision) <= 300, "round: a precision of {} is too large", precision);
  const auto whole = value.whole();
  if (whole && method == "common") return rounded_whole(*whole, precision);
  const auto found = value.is_string() ? std::nullopt : number_of(value);
  template_check(found.has_value(), "round: expected a number, got {}", value.type_name());
  const double number = *found;
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return std::ceil(number * scale) / scale;
  if (method == "floor") return std::floor(number * scale) / scale;
  // Python rounds the decimal digits correctly, halves to even; so does printing them.
  if (precision >= 0) return std::stod(fmt::format("{:.{}f}", number, precision));
  return std::nearbyint(number * scale) / scale;
}

Value safe(const Value& value, Arguments&, Budget& budget) { return charged_text(value, budget); }

Value abs(const Value& value, Arguments& arguments, Budget&) {
  if (const double* number = value.get<double>()) return std::abs(*number);
  const auto whole = value.whole();
  template_check(whole.has_value(), "{}: expected a number, got {}", arguments.function(), value.type_name());
  return Value::integer(whole->negative() ? whole->negated() : *whole);
}

// An attribute, and never an entry of a dictionary.
Value attr(const Value& value, Arguments& arguments, Budget& budget) {
  const std::string name = arguments.text("name");
  if (value.entries() != nullptr && !has_method(value, name) && !is_changing_method(value, name)) {
    return Value::undefined(name);
  }
  return attribute_of(value, name, budget);
}

Value filesizeformat(const Value& value, Arguments& arguments, Budget&) {
  const bool binary = arguments.flag_or("binary", false);
  const auto bytes = number_of(value);
  template_check(bytes.has_value(), "filesizeformat: expected a number, got {}", value.type_name());
  const double base = binary ? 1024 : 1000;
  if (*bytes == 1) return "1 Byte";
  if (*bytes < base) return fmt::format("{} Bytes", BigInteger::truncated(*bytes).text());
  static constexpr std::string_view kPrefixes = "kMGTPEZY";
  double unit = base;
  for (size_t i = 0;; ++i) {
    unit *= base;
    if (*bytes < unit || i + 1 == kPrefixes.size()) {
      const char prefix = binary && i == 0 ? 'K' : kPrefixes[i];
      return fmt::format("{:.1f} {}{}", base * *bytes / unit, prefix, binary ? "iB" : "B");
    }
  }
}

}  // namespace

const TemplateFilters& value_filters() {
  static const TemplateFilters table = {
      {"abs", abs},    {"attr", attr},   {"d", fallback},  {"default", fallback}, {"filesizeformat", filesizeformat},
      {"float", real}, {"int", integer}, {"round", round}, {"safe", safe},        {"tojson", tojson},
  };
  return table;
}

namespace {

const TemplateFilters& filters() {
  static const TemplateFilters table = [] {
    TemplateFilters all = value_filters();
    all.insert(text_filters().begin(), text_filters().end());
    all.insert(sequence_filters().begin(), sequence_filters().end());
    return all;
  }();
  return table;
}

}  // namespace

bool is_filter(const std::string& name) { return filters().contains(name); }

std::vector<std::string> filter_names() {
  std::vector<std::string> out;
  for (const auto& [name, filter] : filters()) out.push_back(name);
  return out;
}

Value apply_filter(const std::string& name, const Value& subject, Arguments arguments, TemplateBudget& budget) {
  budget.charge_bytes(subject.is_string() ? subject.string()->size() : 0);
  budget.charge(arguments.weight());
  Value out = filters().at(name)(subject, arguments, budget);
  arguments.finish();
  return out;
}

}  // namespace incontext::text
