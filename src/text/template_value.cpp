#include "text/template_value.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "text/utf8.h"

namespace incontext::text {
namespace {

// Deeper values are no conversation, and would overflow the stack of whatever walks them.
constexpr size_t kMaxValueDepth = 100;

// 4300 decimal digits.
constexpr size_t kMaxBits = 14'285;
static_assert(kMaxDigits * 3322 / 1000 <= kMaxBits);

constexpr size_t kMaxIteratedText = 1'000'000;

constexpr size_t kMaxWeight = size_t{1} << 40;

size_t text_weight(std::string_view text) { return 1 + text.size() / 64; }
size_t sum_of_weights(size_t one, size_t two) { return std::min(one + two, kMaxWeight); }

template <class Entries>
auto find_entry(const Entries& entries, std::string_view key) {
  return std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.first == key; });
}

bool is_number(const Value& value) {
  return value.get<bool>() != nullptr || value.get<int64_t>() != nullptr || value.get<double>() != nullptr ||
         value.is_integer();
}

// Nothing where one of them is no number; NaN is equal to nothing and has no order. Exact whatever their sizes.
std::optional<std::partial_ordering> compare_numbers(const Value& left, const Value& right) {
  if (!is_number(left) || !is_number(right)) return std::nullopt;
  const double* a = left.get<double>();
  const double* b = right.get<double>();
  if (a != nullptr && b != nullptr) return *a <=> *b;
  if (b != nullptr) {
    const std::partial_ordering order = *compare_numbers(right, left);
    return std::is_lt(order) ? std::partial_ordering::greater : std::is_gt(order) ? std::partial_ordering::less : order;
  }
  if (a == nullptr) {
    if (left.get<int64_t>() != nullptr && right.get<int64_t>() != nullptr) {
      return *left.get<int64_t>() <=> *right.get<int64_t>();
    }
    return BigInteger::compare(*left.whole(), *right.whole()) <=> 0;
  }
  if (!std::isfinite(*a)) return *a <=> 0.0;
  const int order = BigInteger::compare(BigInteger::truncated(*a), *right.whole());
  return order != 0 ? order <=> 0 : *a - std::trunc(*a) <=> 0.0;
}

}  // namespace

Value Value::undefined(std::string name, std::string why) {
  Value out;
  out.data_ = Undefined{std::move(name), std::move(why)};
  return out;
}

Value Value::list(std::vector<Value> items, ListKind kind) {
  List made{std::move(items), 1, kind};
  for (const Value& item : made.items) {
    made.depth = std::max(made.depth, item.depth() + 1);
    made.weight = sum_of_weights(made.weight, item.weight());
  }
  template_check(made.depth <= kMaxValueDepth, "lists are nested deeper than {}", kMaxValueDepth);
  Value out;
  out.data_ = std::make_shared<const List>(std::move(made));
  return out;
}

Value Value::range(std::vector<Value> items, int64_t begin, int64_t end, int64_t step) {
  const size_t weight = items.size() + 1;
  Value out;
  out.data_ = std::make_shared<const List>(List{std::move(items), 1, ListKind::range, weight, begin, end, step});
  return out;
}

namespace {

// Some order of all values that may be keys, in which equal ones are equal.
int key_order(const Value& left, const Value& right) {
  const auto rank = [](const Value& value) {
    return is_number(value) ? 0 : value.is_string() ? 1 : value.items() ? 2 : 3;
  };
  if (rank(left) != rank(right)) return rank(left) < rank(right) ? -1 : 1;
  switch (rank(left)) {
    case 0: {
      const auto is_nan = [](const Value& value) {
        return value.get<double>() != nullptr && *value.get<double>() != *value.get<double>();
      };
      if (is_nan(left) || is_nan(right)) return is_nan(left) - is_nan(right);
      return compare_values(left, right);
    }
    case 1:
      return compare_values(left, right);
    case 2: {
      const auto &one = *left.items(), &two = *right.items();
      for (size_t i = 0; i < std::min(one.size(), two.size()); ++i) {
        if (const int order = key_order(one[i], two[i]); order != 0) return order;
      }
      return one.size() < two.size() ? -1 : one.size() > two.size() ? 1 : 0;
    }
    default:
      if (left.type_name() != right.type_name()) return left.type_name() < right.type_name() ? -1 : 1;
      // None, undefined, and objects, which Python tells apart by where they lie.
      return left.identity() < right.identity() ? -1 : left.identity() > right.identity() ? 1 : 0;
  }
}

struct KeyOrder {
  bool operator()(const Value* left, const Value* right) const { return key_order(*left, *right) < 0; }
};

}  // namespace

Value Value::dictionary(std::vector<std::pair<Value, Value>> entries) {
  Dictionary made;
  made.entries.reserve(entries.size());  // so that keys stay where they are
  std::map<const Value*, size_t, KeyOrder> places;
  for (auto& [key, value] : entries) {
    check_key(key);
    made.depth = std::max({made.depth, value.depth() + 1, key.depth() + 1});
    made.weight = sum_of_weights(made.weight, sum_of_weights(key.weight(), value.weight()));
    const auto same = places.find(&key);
    if (same != places.end()) {
      made.entries[same->second].second = std::move(value);
      continue;
    }
    made.entries.emplace_back(std::move(key), std::move(value));
    places.emplace(&made.entries.back().first, made.entries.size() - 1);
  }
  template_check(made.depth <= kMaxValueDepth, "dictionaries are nested deeper than {}", kMaxValueDepth);
  Value out;
  out.data_ = std::make_shared<const Dictionary>(std::move(made));
  return out;
}

Value Value::integer(BigInteger value) {
  if (const auto small = value.small()) return *small;
  template_check(value.bits() <= kMaxBits, "a number has more than {} digits", kMaxDigits);
  Value out;
  out.data_ = std::make_shared<const BigInteger>(std::move(value));
  return out;
}

Value Value::generator(Generator made) {
  template_check(made.depth <= kMaxValueDepth, "filters are nested deeper than {}", kMaxValueDepth);
  Value out;
  out.data_ = std::make_shared<Generator>(std::move(made));
  return out;
}

const std::string* Value::string() const {
  const String* found = get<String>();
  return found == nullptr ? nullptr : found->get();
}

const List* Value::list() const {
  const auto* found = get<std::shared_ptr<const List>>();
  return found == nullptr ? nullptr : found->get();
}

const std::vector<Value>* Value::items() const {
  const List* found = list();
  return found == nullptr ? nullptr : &found->items;
}

bool Value::is_list() const { return list() != nullptr && list()->kind == ListKind::list; }

bool Value::is_tuple() const {
  return list() != nullptr && (list()->kind == ListKind::tuple || list()->kind == ListKind::group);
}

const Dictionary* Value::entries() const {
  const auto* found = get<std::shared_ptr<const Dictionary>>();
  return found == nullptr ? nullptr : found->get();
}

LoopState* Value::loop() const {
  const auto* found = get<std::shared_ptr<LoopState>>();
  return found == nullptr ? nullptr : found->get();
}

const Function* Value::function() const {
  const auto* found = get<std::shared_ptr<const Function>>();
  return found == nullptr ? nullptr : found->get();
}

Generator* Value::generator() const {
  const auto* found = get<std::shared_ptr<Generator>>();
  return found == nullptr ? nullptr : found->get();
}

bool Value::is_integer() const {
  return get<int64_t>() != nullptr || get<std::shared_ptr<const BigInteger>>() != nullptr;
}

std::optional<BigInteger> Value::whole() const {
  if (const bool* flag = get<bool>()) return BigInteger(*flag ? 1 : 0);
  if (const int64_t* number = get<int64_t>()) return BigInteger(*number);
  if (const auto* big = get<std::shared_ptr<const BigInteger>>()) return **big;
  return std::nullopt;
}

const void* Value::identity() const {
  return std::visit(
      [](const auto& held) -> const void* {
        if constexpr (requires { held.get(); }) return held.get();
        return nullptr;
      },
      data_);
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (const bool* flag = get<bool>()) return *flag;
  if (const int64_t* number = get<int64_t>()) return *number != 0;
  if (const double* number = get<double>()) return *number != 0;
  if (string() != nullptr) return !string()->empty();
  if (items() != nullptr) return !items()->empty();
  if (entries() != nullptr) return !entries()->entries.empty();
  return true;
}

std::string Value::type_name() const {
  static constexpr const char* kNames[] = {"undefined", "NoneType",  "bool", "int",      "float",     "str", "list",
                                           "dict",      "namespace", "loop", "function", "generator", "int"};
  static constexpr const char* kKinds[] = {"list", "tuple", "tuple", "range", "dict_keys", "dict_values", "dict_items"};
  return list() != nullptr ? kKinds[static_cast<size_t>(list()->kind)] : kNames[data_.index()];
}

size_t Value::depth() const {
  if (const List* found = list()) return found->depth;
  if (const Dictionary* found = entries()) return found->depth;
  if (const LoopState* found = loop()) return found->items->depth + 1;
  if (const Function* found = function()) return found->receiver.depth() + 1;
  if (const Generator* found = generator()) return found->depth;
  return 0;
}

size_t Value::weight() const {
  if (const std::string* text = string()) return text_weight(*text);
  if (const List* found = list()) return found->weight;
  if (const Dictionary* found = entries()) return found->weight;
  if (const auto* big = get<std::shared_ptr<const BigInteger>>()) return 1 + (*big)->bits() / 64;
  return 1;
}

const Value* Dictionary::find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name.is_string() && *name.string() == key) return &value;
  }
  return nullptr;
}

const Value* Dictionary::find(const Value& key) const {
  if (key.is_string()) return find(std::string_view(*key.string()));
  for (const auto& [name, value] : entries) {
    if (values_equal(name, key)) return &value;
  }
  return nullptr;
}

const Value* Namespace::find(std::string_view key) const {
  const auto found = find_entry(entries, key);
  return found == entries.end() ? nullptr : &found->second;
}

void Namespace::set(const std::string& key, Value value) {
  for (auto& [name, old] : entries) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  entries.emplace_back(key, std::move(value));
}

void check_key(const Value& key) {
  template_check(!key.is_list() && key.entries() == nullptr, "a {} is no key of a dictionary", key.type_name());
  if (!key.is_tuple()) return;
  for (const Value& item : *key.items()) check_key(item);
}

namespace {

bool equal_entries(const Dictionary& one, const Dictionary& two) {
  if (one.entries.size() != two.entries.size()) return false;
  const auto sorted = [](const Dictionary& dictionary) {
    std::map<const Value*, const Value*, KeyOrder> out;
    for (const auto& [key, value] : dictionary.entries) out.emplace(&key, &value);
    return out;
  };
  const auto ours = sorted(one), theirs = sorted(two);
  return std::equal(ours.begin(), ours.end(), theirs.begin(), theirs.end(), [](const auto& a, const auto& b) {
    return values_equal(*a.first, *b.first) && values_equal(*a.second, *b.second);
  });
}

bool same_function(const Function& one, const Function& two) {
  return one.kind == two.kind && one.name == two.name && one.macro == two.macro && one.scope == two.scope &&
         one.count == two.count && values_equal(one.receiver, two.receiver);
}

}  // namespace

bool values_equal(const Value& left, const Value& right) {
  if (const auto order = compare_numbers(left, right)) return *order == std::partial_ordering::equivalent;
  if (left.is_undefined() || left.is_none()) return left.type_name() == right.type_name();
  if (left.string() != nullptr && right.string() != nullptr) return *left.string() == *right.string();
  if (left.items() != nullptr && right.items() != nullptr) {
    return left.type_name() == right.type_name() &&
           std::equal(left.items()->begin(), left.items()->end(), right.items()->begin(), right.items()->end(),
                      values_equal);
  }
  if (left.entries() != nullptr && right.entries() != nullptr) return equal_entries(*left.entries(), *right.entries());
  if (left.function() != nullptr && right.function() != nullptr)
    return same_function(*left.function(), *right.function());
  return left.identity() != nullptr && left.identity() == right.identity();
}

namespace {

bool have_order(const Value& left, const Value& right) {
  return (is_number(left) && is_number(right)) || (left.is_string() && right.is_string()) ||
         (left.items() != nullptr && right.items() != nullptr);
}

}  // namespace

int compare_values(const Value& left, const Value& right) {
  if (const auto order = compare_numbers(left, right)) return std::is_lt(*order) ? -1 : std::is_gt(*order) ? 1 : 0;
  if (left.string() != nullptr && right.string() != nullptr) {
    const int order = left.string()->compare(*right.string());
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  if ((left.is_list() && right.is_list()) || (left.is_tuple() && right.is_tuple())) {
    const auto &one = *left.items(), &two = *right.items();
    for (size_t i = 0; i < std::min(one.size(), two.size()); ++i) {
      // Equal items need no order.
      if (!have_order(one[i], two[i]) && values_equal(one[i], two[i])) continue;
      if (const int order = compare_values(one[i], two[i]); order != 0) return order;
    }
    return one.size() < two.size() ? -1 : one.size() > two.size() ? 1 : 0;
  }
  template_fail("{} and {} have no order", left.type_name(), right.type_name());
}

std::optional<Value> next_of(Generator& generator, TemplateBudget& budget) {
  if (!generator.next) return std::nullopt;
  template_check(!generator.running, "a filter goes through itself");
  const TemplateBudget::Level level(budget);
  budget.charge(1);
  generator.running = true;
  try {
    auto out = generator.next(budget);
    generator.running = false;
    if (!out) generator.next = nullptr;
    return out;
  } catch (...) {
    generator.running = false;
    generator.next = nullptr;
    throw;
  }
}

std::vector<Value> iterate(const Value& value, TemplateBudget& budget) {
  if (const auto* items = value.items()) {
    budget.charge(1 + items->size() / 16);
    return *items;
  }
  std::vector<Value> out;
  if (value.is_undefined()) return out;
  if (Generator* generator = value.generator()) {
    while (auto next = next_of(*generator, budget)) out.push_back(std::move(*next));
    return out;
  }
  if (const std::string* text = value.string()) {
    // A value for each character takes a hundred times the memory of the text.
    template_check(text->size() <= kMaxIteratedText, "a text of {} bytes is too long to go through", text->size());
    budget.charge(1 + text->size());
    for (size_t i = 0; i < text->size();) {
      const size_t size = code_point_at(*text, i).size;
      out.emplace_back(text->substr(i, size));
      i += size;
    }
    return out;
  }
  const Dictionary* dictionary = value.entries();
  template_check(dictionary != nullptr, "a {} cannot be gone through", value.type_name());
  budget.charge(1 + dictionary->entries.size());
  for (const auto& [key, item] : dictionary->entries) out.push_back(key);
  return out;
}

int64_t length_of(const Value& value) {
  if (value.is_undefined()) return 0;
  if (const std::string* text = value.string()) return static_cast<int64_t>(count_code_points(*text));
  if (const auto* items = value.items()) return static_cast<int64_t>(items->size());
  if (const Dictionary* dictionary = value.entries()) return static_cast<int64_t>(dictionary->entries.size());
  if (const LoopState* loop = value.loop()) return static_cast<int64_t>(loop->items->items.size());
  template_fail("a {} has no length", value.type_name());
}

}  // namespace incontext::text
