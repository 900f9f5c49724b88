#include <algorithm>
#include <cmath>

#include "text/template_functions.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

// Whole numbers and booleans as one, reals as the other.
struct Number {
  bool real = false;
  int64_t integer = 0;
  double value = 0;
};

std::optional<Number> number_of(const Value& value) {
  if (const bool* flag = value.get<bool>()) return Number{false, *flag ? 1 : 0, *flag ? 1.0 : 0.0};
  if (const int64_t* integer = value.get<int64_t>()) return Number{false, *integer, static_cast<double>(*integer)};
  if (const double* real = value.get<double>()) return Number{true, 0, *real};
  return std::nullopt;
}

Value power(int64_t base, int64_t exponent) {
  if (exponent < 0) return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  if (base == 0 || base == 1) return exponent == 0 ? int64_t{1} : base;
  if (base == -1) return exponent % 2 == 0 ? int64_t{1} : int64_t{-1};
  int64_t out = 1;
  for (int64_t i = 0; i < exponent; ++i) {
    template_check(!__builtin_mul_overflow(out, base, &out), "{} ** {} is too large", base, exponent);
  }
  return out;
}

Value integer_arithmetic(const std::string& name, int64_t left, int64_t right) {
  int64_t out = 0;
  bool overflow = false;
  if (name == "+") overflow = __builtin_add_overflow(left, right, &out);
  if (name == "-") overflow = __builtin_sub_overflow(left, right, &out);
  if (name == "*") overflow = __builtin_mul_overflow(left, right, &out);
  if (name == "**") return power(left, right);
  if (name == "/" || name == "//" || name == "%") {
    template_check(right != 0, "division by zero");
    if (name == "/") return static_cast<double>(left) / static_cast<double>(right);
    overflow = left == INT64_MIN && right == -1;
    if (!overflow) {
      // Python rounds down, and the remainder has the sign of the divisor.
      const int64_t remainder = left % right;
      const bool down = remainder != 0 && (remainder < 0) != (right < 0);
      out = name == "%" ? remainder + (down ? right : 0) : left / right - (down ? 1 : 0);
    }
  }
  template_check(!overflow, "{} {} {} is too large", left, name, right);
  return out;
}

Value real_arithmetic(const std::string& name, double left, double right) {
  if (name == "+") return left + right;
  if (name == "-") return left - right;
  if (name == "*") return left * right;
  if (name == "**") return std::pow(left, right);
  template_check(right != 0, "division by zero");
  if (name == "/") return left / right;
  if (name == "//") return std::floor(left / right);
  return left - right * std::floor(left / right);
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
  return Value::list(std::move(out));
}

Value added(const Value& left, const Value& right, TemplateBudget& budget) {
  if (left.is_string() && right.is_string()) {
    budget.charge_bytes(left.string()->size() + right.string()->size());
    return *left.string() + *right.string();
  }
  if (left.items() != nullptr && right.items() != nullptr && left.is_tuple() == right.is_tuple()) {
    budget.charge(1 + left.items()->size() + right.items()->size());
    std::vector<Value> out = *left.items();
    out.insert(out.end(), right.items()->begin(), right.items()->end());
    return Value::list(std::move(out), left.is_tuple());
  }
  template_fail("{} + {} has no meaning", left.type_name(), right.type_name());
}

void check_defined(const Value& value) {
  if (const Undefined* undefined = value.get<Undefined>()) template_fail("'{}' is undefined", undefined->name);
}

}  // namespace

int64_t integer_of(const Value& value, const std::string& what) {
  const auto number = number_of(value);
  template_check(number && !number->real, "{}: expected a whole number, got {}", what, value.type_name());
  return number->integer;
}

Value apply_binary(const std::string& name, const Value& left, const Value& right, TemplateBudget& budget) {
  if (name == "~") {
    budget.charge_walk(left);
    budget.charge_walk(right);
    return to_text(left) + to_text(right);
  }
  check_defined(left);
  check_defined(right);
  const auto one = number_of(left), two = number_of(right);
  if (one && two) {
    if (one->real || two->real) return real_arithmetic(name, one->value, two->value);
    return integer_arithmetic(name, one->integer, two->integer);
  }
  if (name == "+") return added(left, right, budget);
  const auto repeats = [](const Value& value) { return value.is_string() || value.items() != nullptr; };
  if (name == "*" && repeats(left) && two && !two->real) return repeated(left, two->integer, budget);
  if (name == "*" && repeats(right) && one && !one->real) return repeated(right, one->integer, budget);
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
    budget.charge(1 + dictionary->entries.size() / 16);
    return item.is_string() && dictionary->find(*item.string()) != nullptr;
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
  if (name == "depth") return int64_t{1};
  if (name == "depth0") return int64_t{0};
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

Value attribute_of(const Value& value, const std::string& name, TemplateBudget& budget) {
  check_defined(value);
  budget.charge_bytes(name.size());
  charge_search(value, budget);
  if (const LoopState* loop = value.loop()) {
    if (name == "cycle")
      return std::make_shared<const Function>(Function{Function::Kind::loop_cycle, name, value, nullptr});
    return loop_attribute(*loop, name);
  }
  if (const auto* space = value.name_space()) {
    const Value* found = (*space)->find(name);
    return found == nullptr ? undefined_member(value, name) : *found;
  }
  // As in Python a method comes before an entry of the same name.
  if (has_method(value, name)) {
    return std::make_shared<const Function>(Function{Function::Kind::method, name, value, nullptr});
  }
  if (const Dictionary* dictionary = value.entries()) {
    if (const Value* found = dictionary->find(name)) return *found;
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
  if (key.is_string() && value.items() == nullptr && !value.is_string()) {
    if (const Dictionary* dictionary = value.entries()) {
      charge_search(value, budget);
      if (const Value* found = dictionary->find(*key.string())) return *found;
    }
    return attribute_of(value, *key.string(), budget);
  }
  const auto index = number_of(key);
  if (!index || index->real || (value.items() == nullptr && !value.is_string())) {
    return undefined_member(value, key.is_string() ? *key.string() : key.type_name());
  }
  if (value.is_string()) budget.charge(value.string()->size() / 4);
  const int64_t size = length_of(value);
  const int64_t at = index->integer < 0 ? index->integer + size : index->integer;
  if (at < 0 || at >= size) return Value::undefined(fmt::format("item {} of {}", index->integer, size));
  if (const auto* items = value.items()) return (*items)[static_cast<size_t>(at)];
  const std::vector<size_t> starts = character_starts(*value.string());
  return substring(*value.string(), starts, static_cast<size_t>(at));
}

Value slice_of(const Value& value, std::optional<int64_t> begin, std::optional<int64_t> end, int64_t step,
               TemplateBudget& budget) {
  check_defined(value);
  template_check(value.items() != nullptr || value.is_string(), "a {} cannot be sliced", value.type_name());
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
  return value.is_string() ? Value(std::move(text)) : Value::list(std::move(items), value.is_tuple());
}

}  // namespace incontext::text
