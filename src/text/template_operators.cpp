#include <algorithm>
#include <cmath>

#include "text/template_format.h"
#include "text/template_functions.h"
#include "text/template_syntax.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

bool is_real(const Value& value) { return value.get<double>() != nullptr; }
bool is_whole(const Value& value) { return value.get<bool>() != nullptr || value.is_integer(); }

// Whole numbers and booleans of 64 bits.
std::optional<int64_t> small_of(const Value& value) {
  if (const bool* flag = value.get<bool>()) return *flag ? 1 : 0;
  if (const int64_t* number = value.get<int64_t>()) return *number;
  return std::nullopt;
}

double real_of(const Value& value) {
  if (const double* real = value.get<double>()) return *real;
  if (const auto small = small_of(value)) return static_cast<double>(*small);
  const double out = value.whole()->real();
  template_check(std::isfinite(out), "a whole number is too large for a real one");
  return out;
}

// Nothing when 64 bits do not hold it.
std::optional<int64_t> small_arithmetic(const std::string& name, int64_t left, int64_t right) {
  int64_t out = 0;
  bool overflow = false;
  if (name == "+") overflow = __builtin_add_overflow(left, right, &out);
  if (name == "-") overflow = __builtin_sub_overflow(left, right, &out);
  if (name == "*") overflow = __builtin_mul_overflow(left, right, &out);
  if (name == "//" || name == "%") {
    overflow = left == INT64_MIN && right == -1;
    if (!overflow) {
      // Python rounds down, and the remainder has the sign of the divisor.
      const int64_t remainder = left % right;
      const bool down = remainder != 0 && (remainder < 0) != (right < 0);
      out = name == "%" ? remainder + (down ? right : 0) : left / right - (down ? 1 : 0);
    }
  }
  return overflow ? std::nullopt : std::optional(out);
}

Value power(const BigInteger& base, const Value& exponent, TemplateBudget& budget) {
  const auto small = small_of(exponent);
  if (exponent.whole()->negative()) {
    template_check(!base.zero(), "division by zero");
    return std::pow(base.real(), exponent.whole()->real());
  }
  if (base.bits() <= 1) {  // -1, 0, 1
    return base.negative() && !exponent.whole()->odd() ? int64_t{1}
           : exponent.whole()->zero()                  ? int64_t{1}
                                                       : *base.small();
  }
  template_check(small && *small <= 100'000, "a power is too large");
  Value out = int64_t{1};
  for (int64_t i = 0; i < *small; ++i) {
    budget.charge(out.weight());
    out = Value::integer(BigInteger::product(*out.whole(), base));
  }
  return out;
}

Value whole_arithmetic(const std::string& name, const Value& left, const Value& right, TemplateBudget& budget) {
  const bool divides = name == "/" || name == "//" || name == "%";
  template_check(!divides || right.truth(), "division by zero");
  if (name == "/") return real_of(left) / real_of(right);
  const auto one = small_of(left), two = small_of(right);
  if (one && two && name != "**") {
    if (const auto out = small_arithmetic(name, *one, *two)) return *out;
  }
  budget.charge(left.weight() * right.weight());
  const BigInteger a = *left.whole(), b = *right.whole();
  if (name == "+") return Value::integer(BigInteger::sum(a, b));
  if (name == "-") return Value::integer(BigInteger::sum(a, b.negated()));
  if (name == "*") return Value::integer(BigInteger::product(a, b));
  if (name == "**") return power(a, right, budget);
  const auto [quotient, remainder] = BigInteger::divided(a, b);
  return Value::integer(name == "%" ? remainder : quotient);
}

Value real_arithmetic(const std::string& name, double left, double right) {
  if (name == "+") return left + right;
  if (name == "-") return left - right;
  if (name == "*") return left * right;
  if (name == "**") {
    template_check(left != 0 || right >= 0, "division by zero");
    template_check(left >= 0 || right == std::trunc(right), "the power of a negative number is no real one");
    return std::pow(left, right);
  }
  template_check(right != 0, "division by zero");
  if (name == "/") return left / right;
  // As Python computes them, so that whole * right + remainder is left.
  double remainder = std::fmod(left, right);
  if (remainder != 0 && (remainder < 0) != (right < 0)) remainder += right;
  if (name == "%") return remainder == 0 ? std::copysign(0.0, right) : remainder;
  const double whole = (left - remainder) / right;
  const double rounded = std::floor(whole);
  return whole - rounded > 0.5 ? rounded + 1 : rounded;
}

Value repeated(const Value& value, int64_t count, TemplateBudget& budget) {
  const auto times = static_cast<size_t>(std::max<int64_t>(count, 0));
  const size_t size = value.is_string() ? value.string()->size() / 64 + 1 : value.items()->size() + 1;
  template_check(times < 100'000'000, "the template takes too many steps");
  budget.charge(size * times);
  if (const std::string* text = value.string()) {
    std::string out;
    for (size_t i = 0; i < times; ++i) out += *text;
    return out;
  }
  std::vector<Value> out;
  for (size_t i = 0; i < times; ++i) out.insert(out.end(), value.items()->begin(), value.items()->end());
  return Value::list(std::move(out), value.list()->kind);
}

Value added(const Value& left, const Value& right, TemplateBudget& budget) {
  if (left.is_string() && right.is_string()) {
    budget.charge_bytes(left.string()->size() + right.string()->size());
    return *left.string() + *right.string();
  }
  if ((left.is_list() && right.is_list()) || (left.is_tuple() && right.is_tuple())) {
    budget.charge(1 + left.items()->size() + right.items()->size());
    std::vector<Value> out = *left.items();
    out.insert(out.end(), right.items()->begin(), right.items()->end());
    return Value::list(std::move(out), left.is_tuple() ? ListKind::tuple : ListKind::list);
  }
  template_fail("{} + {} has no meaning", left.type_name(), right.type_name());
}

void check_defined(const Value& value) {
  const Undefined* undefined = value.get<Undefined>();
  if (undefined == nullptr) return;
  if (!undefined->why.empty()) template_fail("{}", undefined->why);
  template_fail("'{}' is undefined", undefined->name);
}

}  // namespace

int64_t integer_of(const Value& value, const std::string& what) {
  template_check(is_whole(value), "{}: expected a whole number, got {}", what, value.type_name());
  const auto small = small_of(value);
  template_check(small.has_value(), "{}: the number is too large", what);
  return *small;
}

Value apply_binary(const std::string& name, const Value& left, const Value& right, TemplateBudget& budget) {
  if (name == "~") {
    budget.charge_walk(left);
    budget.charge_walk(right);
    return to_text(left) + to_text(right);
  }
  check_defined(left);
  if (name == "%" && left.is_string()) return format_percent(*left.string(), right, budget);
  check_defined(right);
  const bool one = is_whole(left) || is_real(left), two = is_whole(right) || is_real(right);
  if (one && two) {
    if (is_real(left) || is_real(right)) return real_arithmetic(name, real_of(left), real_of(right));
    return whole_arithmetic(name, left, right, budget);
  }
  if (name == "+") return added(left, right, budget);
  const auto repeats = [](const Value& value) { return value.is_string() || value.is_list() || value.is_tuple(); };
  if (name == "*" && repeats(left) && is_whole(right)) return repeated(left, integer_of(right, "*"), budget);
  if (name == "*" && repeats(right) && is_whole(left)) return repeated(right, integer_of(left, "*"), budget);
  template_fail("{} {} {} has no meaning", left.type_name(), name, right.type_name());
}

bool is_in(const Value& item, const Value& container, TemplateBudget& budget) {
  if (const std::string* text = container.string()) {
    template_check(item.is_string(), "'in' a text: expected a text before it, got {}", item.type_name());
    budget.charge_walk(container);
    return find_in(*text, *item.string()) != std::string::npos;
  }
  if (const auto* items = container.items()) {
    budget.charge_walk(container);
    return std::any_of(items->begin(), items->end(), [&](const Value& one) { return values_equal(one, item); });
  }
  if (const Dictionary* dictionary = container.entries()) {
    check_key(item);
    budget.charge(1 + item.weight() + dictionary->entries.size() / 16);
    return dictionary->find(item) != nullptr;
  }
  if (Generator* generator = container.generator()) {
    while (const auto one = next_of(*generator, budget)) {
      budget.charge_comparison(*one, item);
      if (values_equal(*one, item)) return true;
    }
    return false;
  }
  template_check(container.is_undefined(), "'in': expected something to look in, got {}", container.type_name());
  return false;
}

namespace {

Value loop_attribute(const LoopState& loop, const std::string& name) {
  const auto size = static_cast<int64_t>(loop.items->items.size());
  const auto index = static_cast<int64_t>(loop.index);
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return size - index;
  if (name == "revindex0") return size - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == size;
  if (name == "length") return size;
  if (name == "depth") return loop.depth + 1;
  if (name == "depth0") return loop.depth;
  if (name == "previtem" && index > 0) return loop.items->items[loop.index - 1];
  if (name == "nextitem" && index + 1 < size) return loop.items->items[loop.index + 1];
  return Value::undefined("loop." + name);
}

// Entries are searched one by one.
void charge_search(const Value& value, TemplateBudget& budget) {
  if (const auto* space = value.name_space()) budget.charge((*space)->entries.size() / 16);
  if (const Dictionary* dictionary = value.entries()) budget.charge(dictionary->entries.size() / 16);
}

Value undefined_member(const Value& value, const std::string& name) {
  return Value::undefined(fmt::format("{} object has no attribute '{}'", value.type_name(), name));
}

}  // namespace

namespace {

Value made_function(Function function) { return std::make_shared<const Function>(std::move(function)); }

// Of macros and cyclers.
std::optional<Value> function_attribute(const Value& value, const std::string& name) {
  const Function& function = *value.function();
  if (function.kind == Function::Kind::macro) {
    const Statement& macro = *function.macro;
    if (name == "name") return function.name;
    if (name == "arguments") return Value::list({macro.parameters.begin(), macro.parameters.end()}, ListKind::tuple);
    if (name == "catch_kwargs") return macro.uses_kwargs;
    if (name == "catch_varargs") return macro.uses_varargs;
    if (name == "caller") return macro.uses_caller;
    if (name == "explicit_caller") {
      return std::find(macro.parameters.begin(), macro.parameters.end(), "caller") != macro.parameters.end();
    }
  }
  if (function.kind == Function::Kind::cycler) {
    if (name == "current") return (*function.receiver.items())[*function.count];
    Function made = function;
    made.kind = name == "next" ? Function::Kind::cycler_next : Function::Kind::cycler_reset;
    if (name == "next" || name == "reset") return made_function(std::move(made));
  }
  return std::nullopt;
}

}  // namespace

Value attribute_of(const Value& value, const std::string& name, TemplateBudget& budget) {
  check_defined(value);
  budget.charge_bytes(name.size());
  charge_search(value, budget);
  if (const LoopState* loop = value.loop()) {
    if (name == "cycle") return made_function({.kind = Function::Kind::loop_cycle, .name = name, .receiver = value});
    if (name == "changed")
      return made_function({.kind = Function::Kind::loop_changed, .name = name, .receiver = value});
    return loop_attribute(*loop, name);
  }
  if (const auto* space = value.name_space()) {
    const Value* found = (*space)->find(name);
    return found == nullptr ? undefined_member(value, name) : *found;
  }
  if (value.function() != nullptr) return function_attribute(value, name).value_or(undefined_member(value, name));
  // As in Python a method comes before an entry of the same name.
  if (is_changing_method(value, name)) {
    return Value::undefined(name, fmt::format("'{}' would change a {}, which templates may not; write "
                                              "{{% set space.x = space.x + [...] %}} with a namespace",
                                              name, value.type_name()));
  }
  if (has_method(value, name)) return made_function({.kind = Function::Kind::method, .name = name, .receiver = value});
  if (value.list() != nullptr && value.list()->kind == ListKind::group) {
    if (name == "grouper") return value.items()->front();
    if (name == "list") return value.items()->back();
  }
  if (const Dictionary* dictionary = value.entries()) {
    if (const Value* found = dictionary->find(std::string_view(name))) return *found;
  }
  return undefined_member(value, name);
}

namespace {

// Where the characters of a text begin, and where it ends.
std::vector<size_t> character_starts(const std::string& text) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < text.size(); i += code_point_at(text, i).size) starts.push_back(i);
  starts.push_back(text.size());
  return starts;
}

std::string substring(const std::string& text, const std::vector<size_t>& starts, size_t character) {
  return text.substr(starts[character], starts[character + 1] - starts[character]);
}

}  // namespace

Value item_of(const Value& value, const Value& key, TemplateBudget& budget) {
  check_defined(value);
  budget.charge_walk(key);
  if (const Dictionary* dictionary = value.entries()) {
    charge_search(value, budget);
    if (const Value* found = dictionary->find(key)) return *found;
  }
  if (key.is_string()) return attribute_of(value, *key.string(), budget);
  const bool has_places = value.is_string() || value.is_list() || value.is_tuple() ||
                          (value.list() != nullptr && value.list()->kind == ListKind::range);
  const auto index = small_of(key);
  if (!index || !has_places) return undefined_member(value, is_whole(key) ? to_text(key) : key.type_name());
  if (value.is_string()) budget.charge(value.string()->size() / 4);
  const int64_t size = length_of(value);
  const int64_t at = *index < 0 ? *index + size : *index;
  if (at < 0 || at >= size) return Value::undefined(fmt::format("item {} of {}", *index, size));
  if (const auto* items = value.items()) return (*items)[static_cast<size_t>(at)];
  const std::vector<size_t> starts = character_starts(*value.string());
  return substring(*value.string(), starts, static_cast<size_t>(at));
}

namespace {

// A part of a range is a range.
Value range_of(const List& list, std::vector<Value> items, int64_t first, int64_t last, int64_t step) {
  const auto place = [&](int64_t at) {
    int64_t out = 0;
    const bool overflow = __builtin_mul_overflow(at, list.step, &out) || __builtin_add_overflow(out, list.begin, &out);
    template_check(!overflow, "range: a number is too large");
    return out;
  };
  int64_t together = 0;
  template_check(!__builtin_mul_overflow(list.step, step, &together), "range: the step is too large");
  return Value::range(std::move(items), place(first), place(last), together);
}

}  // namespace

Value slice_of(const Value& value, std::optional<int64_t> begin, std::optional<int64_t> end, int64_t step,
               TemplateBudget& budget) {
  check_defined(value);
  const bool has_places = value.is_string() || value.is_list() || value.is_tuple() ||
                          (value.list() != nullptr && value.list()->kind == ListKind::range);
  template_check(has_places, "a {} cannot be sliced", value.type_name());
  template_check(step != 0, "the step of a slice is 0");
  budget.charge(1 + (value.is_string() ? value.string()->size() / 16 : value.items()->size()));
  const std::vector<size_t> starts = value.is_string() ? character_starts(*value.string()) : std::vector<size_t>{};
  const auto size = static_cast<int64_t>(value.is_string() ? starts.size() - 1 : value.items()->size());
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  const auto place = [&](std::optional<int64_t> at, int64_t absent) {
    if (!at) return absent;
    return std::clamp(*at < 0 ? *at + size : *at, low, high);
  };
  const int64_t first = place(begin, step > 0 ? 0 : size - 1), last = place(end, step > 0 ? size : -1);
  std::vector<Value> items;
  std::string text;
  for (int64_t i = first; step > 0 ? i < last : i > last;) {
    const auto at = static_cast<size_t>(i);
    if (value.is_string()) {
      text += substring(*value.string(), starts, at);
    } else {
      items.push_back((*value.items())[at]);
    }
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  if (value.is_string()) return text;
  const List& list = *value.list();
  if (list.kind == ListKind::range) return range_of(list, std::move(items), first, last, step);
  return Value::list(std::move(items), value.is_tuple() ? ListKind::tuple : ListKind::list);
}

}  // namespace incontext::text
