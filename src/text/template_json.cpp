#include <algorithm>
#include <cmath>

#include "base/exact_json.h"
#include "text/template_value.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

// Deeper values are no conversation, and would overflow the stack of whatever walks them.
constexpr size_t kMaxJsonDepth = 100;

constexpr size_t kMaxJson = size_t{64} << 20;

Value from_json(const base::Json& json, size_t depth) {
  template_check(depth <= kMaxJsonDepth, "the conversation nests deeper than {}", kMaxJsonDepth);
  if (json.is_null()) return None{};
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_float()) return json.get<double>();
  if (json.is_number_unsigned() && json.get<uint64_t>() > INT64_MAX) {
    return Value::integer(BigInteger::parse(json.dump()).value());
  }
  if (json.is_number()) return json.get<int64_t>();
  if (json.is_string()) return to_valid_utf8(json.get_ref<const std::string&>());
  if (json.is_array()) {
    std::vector<Value> items;
    items.reserve(json.size());
    for (const base::Json& item : json) items.push_back(from_json(item, depth + 1));
    return Value::list(std::move(items));
  }
  if (const auto digits = base::big_integer_digits(json)) return Value::integer(BigInteger::parse(*digits).value());
  template_check(json.is_object(), "bytes are no value for a template");
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [key, item] : json.items()) entries.emplace_back(to_valid_utf8(key), from_json(item, depth + 1));
  return Value::dictionary(std::move(entries));
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

// What is no list, dictionary or text; nothing when JSON has no word for it.
std::optional<std::string> word_of(const Value& value) {
  if (const bool* flag = value.get<bool>()) return *flag ? "true" : "false";
  if (value.is_none()) return "null";
  if (value.is_integer()) return to_text(value);
  const double* number = value.get<double>();
  if (number == nullptr) return std::nullopt;
  if (std::isnan(*number)) return "NaN";
  if (std::isinf(*number)) return *number > 0 ? "Infinity" : "-Infinity";
  return float_text(*number);
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
    if (const auto word = word_of(value)) {
      out += *word;
    } else if (value.is_list() || value.is_tuple()) {
      write_all(*value.items(), "[", "]", level, [&](const Value& item) { write(item, level + 1); });
    } else if (const Dictionary* dictionary = value.entries()) {
      auto entries = dictionary->entries;
      if (style_.sort_keys) {
        std::stable_sort(entries.begin(), entries.end(),
                         [](const auto& a, const auto& b) { return compare_values(a.first, b.first) < 0; });
      }
      write_all(entries, "{", "}", level, [&](const auto& entry) {
        write_key(entry.first);
        out += style_.key_separator;
        write(entry.second, level + 1);
      });
    } else {
      template_fail("a value of type {} cannot be written as JSON", value.type_name());
    }
  }

  std::string out;

 private:
  void write_key(const Value& key) {
    if (const std::string* text = key.string()) return escape_json(*text, style_.ascii_only, out);
    const auto word = word_of(key);
    template_check(word.has_value(), "a key of type {} cannot be written as JSON", key.type_name());
    out += '"' + *word + '"';
  }

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

}  // namespace

Value value_from_json(const base::Json& json) { return from_json(json, 1); }

std::string to_json(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.write(value, 0);
  return std::move(writer.out);
}

}  // namespace incontext::text
