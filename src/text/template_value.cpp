#include "text/template_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/utf8.h"

namespace incontext::text {
namespace {

// Deeper values are no conversation, and would overflow the stack of whatever walks them.
constexpr size_t kMaxValueDepth = 100;

constexpr size_t kMaxIteratedText = 1'000'000;

constexpr size_t kMaxJson = size_t{64} << 20;

constexpr size_t kMaxWeight = size_t{1} << 40;

size_t text_weight(std::string_view text) { return 1 + text.size() / 64; }
size_t sum_of_weights(size_t one, size_t two) { return std::min(one + two, kMaxWeight); }

template <class Entries>
const Value* find_entry(const Entries& entries, std::string_view key) {
  for (const auto& [name, value] : entries) {
    if (name == key) return &value;
  }
  return nullptr;
}

// Python's repr of a float.
std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view shortest(buffer, static_cast<size_t>(end - buffer));
  const int exponent = std::stoi(std::string(shortest.substr(shortest.find('e') + 1)));
  if (exponent < -4 || exponent >= 16) return std::string(shortest);
  const auto fixed_end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr;
  std::string out(buffer, fixed_end);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

void append_quoted(const std::string& text, std::string& out) {
  const bool has_single = text.find('\'') != std::string::npos;
  const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
  out += quote;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  out += quote;
}

// Python's repr(): as to_text(), but texts in quotes.
void append_representation(const Value& value, std::string& out) {
  if (const std::string* text = value.string()) return append_quoted(*text, out);
  if (const auto* items = value.items()) {
    out += value.is_tuple() ? '(' : '[';
    for (size_t i = 0; i < items->size(); ++i) {
      if (i > 0) out += ", ";
      append_representation((*items)[i], out);
    }
    if (value.is_tuple() && items->size() == 1) out += ',';
    out += value.is_tuple() ? ')' : ']';
    return;
  }
  if (const Dictionary* dictionary = value.entries()) {
    out += '{';
    for (size_t i = 0; i < dictionary->entries.size(); ++i) {
      if (i > 0) out += ", ";
      append_quoted(dictionary->entries[i].first, out);
      out += ": ";
      append_representation(dictionary->entries[i].second, out);
    }
    out += '}';
    return;
  }
  out += value.is_undefined() ? "Undefined" : to_text(value);
}

void escape_json(const std::string& text, bool ascii_only, std::string& out) {
  out += '"';
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    static constexpr std::string_view kPlain = "\"\\\n\r\t\f\b", kShort = "\"\\nrtfb";
    const size_t found = c.size == 1 ? kPlain.find(text[i]) : std::string_view::npos;
    if (found != std::string_view::npos) {
      out += '\\';
      out += kShort[found];
    } else if (c.value >= 0x10000 && ascii_only) {
      const unsigned rest = static_cast<unsigned>(c.value) - 0x10000;
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
    } else if (c.value < 0x20 || (c.value > 0x7E && ascii_only)) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c.value));
    } else {
      out.append(text, i, c.size);
    }
    i += c.size;
  }
  out += '"';
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  void write(const Value& value, size_t level) {
    template_check(out.size() <= kMaxJson, "the JSON becomes longer than {} MiB", kMaxJson >> 20);
    if (const std::string* text = value.string()) {
      template_check(text->size() <= kMaxJson, "the JSON becomes longer than {} MiB", kMaxJson >> 20);
      return escape_json(*text, style_.ascii_only, out);
    }
    if (const bool* flag = value.get<bool>()) {
      out += *flag ? "true" : "false";
    } else if (value.is_none()) {
      out += "null";
    } else if (const double* number = value.get<double>()) {
      out += std::isnan(*number)   ? "NaN"
             : std::isinf(*number) ? (*number > 0 ? "Infinity" : "-Infinity")
                                   : to_text(value);
    } else if (value.get<int64_t>() != nullptr) {
      out += to_text(value);
    } else if (const auto* items = value.items()) {
      write_all(*items, "[", "]", level, [&](const Value& item) { write(item, level + 1); });
    } else if (const Dictionary* dictionary = value.entries()) {
      auto entries = dictionary->entries;
      if (style_.sort_keys) {
        std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
      }
      write_all(entries, "{", "}", level, [&](const auto& entry) {
        escape_json(entry.first, style_.ascii_only, out);
        out += style_.key_separator;
        write(entry.second, level + 1);
      });
    } else {
      template_fail("a value of type {} cannot be written as JSON", value.type_name());
    }
  }

  std::string out;

 private:
  template <class Items, class Write>
  void write_all(const Items& items, const char* open, const char* close, size_t level, Write write_one) {
    out += open;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out += style_.item_separator;
      first = false;
      line(level + 1);
      write_one(item);
    }
    if (!first) line(level);
    out += close;
  }

  void line(size_t level) {
    if (!style_.lines) return;
    out += '\n';
    for (size_t i = 0; i < level; ++i) out += style_.indent;
  }

  const JsonStyle& style_;
};

// Booleans count as numbers, as in Python.
bool as_number(const Value& value, double& number) {
  if (const bool* flag = value.get<bool>())
    number = *flag ? 1 : 0;
  else if (const int64_t* integer = value.get<int64_t>())
    number = static_cast<double>(*integer);
  else if (const double* real = value.get<double>())
    number = *real;
  else
    return false;
  return true;
}

}  // namespace

Value Value::undefined(std::string name) {
  Value out;
  out.data_ = Undefined{std::move(name)};
  return out;
}

Value Value::list(std::vector<Value> items, bool is_tuple) {
  size_t depth = 1, weight = 1;
  for (const Value& item : items) {
    depth = std::max(depth, item.depth() + 1);
    weight = sum_of_weights(weight, item.weight());
  }
  template_check(depth <= kMaxValueDepth, "lists are nested deeper than {}", kMaxValueDepth);
  Value out;
  out.data_ = std::make_shared<const List>(List{std::move(items), depth, is_tuple, weight});
  return out;
}

Value Value::dictionary(std::vector<std::pair<std::string, Value>> entries) {
  Dictionary made;
  for (auto& entry : entries) {
    made.depth = std::max(made.depth, entry.second.depth() + 1);
    made.weight = sum_of_weights(made.weight, sum_of_weights(text_weight(entry.first), entry.second.weight()));
    const auto same = std::find_if(made.entries.begin(), made.entries.end(),
                                   [&](const auto& other) { return other.first == entry.first; });
    if (same != made.entries.end()) {
      same->second = std::move(entry.second);
    } else {
      made.entries.push_back(std::move(entry));
    }
  }
  template_check(made.depth <= kMaxValueDepth, "dictionaries are nested deeper than {}", kMaxValueDepth);
  Value out;
  out.data_ = std::make_shared<const Dictionary>(std::move(made));
  return out;
}

const std::string* Value::string() const {
  const String* found = get<String>();
  return found == nullptr ? nullptr : found->get();
}

const std::vector<Value>* Value::items() const {
  const auto* found = get<std::shared_ptr<const List>>();
  return found == nullptr ? nullptr : &(*found)->items;
}

bool Value::is_tuple() const {
  const auto* found = get<std::shared_ptr<const List>>();
  return found != nullptr && (*found)->is_tuple;
}

const Dictionary* Value::entries() const {
  const auto* found = get<std::shared_ptr<const Dictionary>>();
  return found == nullptr ? nullptr : found->get();
}

const LoopState* Value::loop() const {
  const auto* found = get<std::shared_ptr<const LoopState>>();
  return found == nullptr ? nullptr : found->get();
}

const Function* Value::function() const {
  const auto* found = get<std::shared_ptr<const Function>>();
  return found == nullptr ? nullptr : found->get();
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  double number = 0;
  if (as_number(*this, number)) return number != 0;
  if (string() != nullptr) return !string()->empty();
  if (items() != nullptr) return !items()->empty();
  if (entries() != nullptr) return !entries()->entries.empty();
  return true;
}

std::string Value::type_name() const {
  static constexpr const char* kNames[] = {"undefined", "NoneType", "bool",      "int",  "float",   "str",
                                           "list",      "dict",     "namespace", "loop", "function"};
  return is_tuple() ? "tuple" : kNames[data_.index()];
}

size_t Value::depth() const {
  if (const auto* found = get<std::shared_ptr<const List>>()) return (*found)->depth;
  if (const Dictionary* found = entries()) return found->depth;
  if (const LoopState* found = loop()) return found->items->depth + 1;
  if (const Function* found = function()) return found->receiver.depth() + 1;
  return 0;
}

size_t Value::weight() const {
  if (const std::string* text = string()) return text_weight(*text);
  if (const auto* found = get<std::shared_ptr<const List>>()) return (*found)->weight;
  if (const Dictionary* found = entries()) return found->weight;
  return 1;
}

const Value* Dictionary::find(std::string_view key) const { return find_entry(entries, key); }
const Value* Namespace::find(std::string_view key) const { return find_entry(entries, key); }

void Namespace::set(const std::string& key, Value value) {
  for (auto& [name, old] : entries) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  entries.emplace_back(key, std::move(value));
}

namespace {

Value from_json(const base::Json& json, size_t depth) {
  template_check(depth <= kMaxValueDepth, "the conversation nests deeper than {}", kMaxValueDepth);
  if (json.is_null()) return None{};
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_float()) return json.get<double>();
  if (json.is_number()) {
    template_check(!json.is_number_unsigned() || json.get<uint64_t>() <= INT64_MAX, "the number {} is too large",
                   json.dump());
    return json.get<int64_t>();
  }
  if (json.is_string()) return to_valid_utf8(json.get_ref<const std::string&>());
  if (json.is_array()) {
    std::vector<Value> items;
    items.reserve(json.size());
    for (const base::Json& item : json) items.push_back(from_json(item, depth + 1));
    return Value::list(std::move(items));
  }
  template_check(json.is_object(), "bytes are no value for a template");
  std::vector<std::pair<std::string, Value>> entries;
  for (const auto& [key, item] : json.items()) entries.emplace_back(to_valid_utf8(key), from_json(item, depth + 1));
  return Value::dictionary(std::move(entries));
}

}  // namespace

Value value_from_json(const base::Json& json) { return from_json(json, 1); }

std::string to_text(const Value& value) {
  if (const std::string* text = value.string()) return *text;
  if (value.is_undefined()) return "";
  if (value.is_none()) return "None";
  if (const bool* flag = value.get<bool>()) return *flag ? "True" : "False";
  if (const int64_t* number = value.get<int64_t>()) return std::to_string(*number);
  if (const double* number = value.get<double>()) return float_text(*number);
  if (value.items() != nullptr || value.entries() != nullptr) {
    std::string out;
    append_representation(value, out);
    return out;
  }
  template_fail("a {} has no text", value.type_name());
}

std::string to_json(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.write(value, 0);
  return std::move(writer.out);
}

namespace {

std::vector<const std::pair<std::string, Value>*> sorted_entries(const Dictionary& dictionary) {
  std::vector<const std::pair<std::string, Value>*> out;
  out.reserve(dictionary.entries.size());
  for (const auto& entry : dictionary.entries) out.push_back(&entry);
  std::sort(out.begin(), out.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
  return out;
}

}  // namespace

bool values_equal(const Value& left, const Value& right) {
  double a = 0, b = 0;
  if (as_number(left, a) && as_number(right, b)) {
    if (left.get<int64_t>() != nullptr && right.get<int64_t>() != nullptr) {
      return *left.get<int64_t>() == *right.get<int64_t>();
    }
    return a == b;
  }
  if (left.is_undefined() || left.is_none()) return left.type_name() == right.type_name();
  if (left.string() != nullptr && right.string() != nullptr) return *left.string() == *right.string();
  if (left.items() != nullptr && right.items() != nullptr) {
    return left.is_tuple() == right.is_tuple() &&
           std::equal(left.items()->begin(), left.items()->end(), right.items()->begin(), right.items()->end(),
                      values_equal);
  }
  if (const Dictionary* one = left.entries(), *two = right.entries(); one != nullptr && two != nullptr) {
    if (one->entries.size() != two->entries.size()) return false;
    const auto by_key = sorted_entries(*one), others = sorted_entries(*two);
    return std::equal(by_key.begin(), by_key.end(), others.begin(), [](const auto* ours, const auto* theirs) {
      return ours->first == theirs->first && values_equal(ours->second, theirs->second);
    });
  }
  if (left.name_space() != nullptr && right.name_space() != nullptr) return *left.name_space() == *right.name_space();
  return false;
}

namespace {

bool have_order(const Value& left, const Value& right) {
  double number = 0;
  return (as_number(left, number) && as_number(right, number)) || (left.is_string() && right.is_string()) ||
         (left.items() != nullptr && right.items() != nullptr);
}

}  // namespace

int compare_values(const Value& left, const Value& right) {
  double a = 0, b = 0;
  if (as_number(left, a) && as_number(right, b)) return a < b ? -1 : a > b ? 1 : 0;
  if (left.string() != nullptr && right.string() != nullptr) {
    const int order = left.string()->compare(*right.string());
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  if (left.items() != nullptr && right.items() != nullptr) {
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

std::vector<Value> iterate(const Value& value, TemplateBudget& budget) {
  if (const auto* items = value.items()) {
    budget.charge(1 + items->size() / 16);
    return *items;
  }
  std::vector<Value> out;
  if (value.is_undefined()) return out;
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
  for (const auto& [key, item] : dictionary->entries) out.emplace_back(key);
  return out;
}

int64_t length_of(const Value& value) {
  if (value.is_undefined()) return 0;
  if (const std::string* text = value.string()) return static_cast<int64_t>(count_code_points(*text));
  if (const auto* items = value.items()) return static_cast<int64_t>(items->size());
  if (const Dictionary* dictionary = value.entries()) return static_cast<int64_t>(dictionary->entries.size());
  template_fail("a {} has no length", value.type_name());
}

}  // namespace incontext::text
