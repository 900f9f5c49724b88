#include <utf8proc.h>

#include <charconv>
#include <cmath>

#include "text/template_value.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

void append_quoted(const std::string& text, std::string& out) {
  const bool has_single = text.find('\'') != std::string::npos;
  const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
  out += quote;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if (c.value == static_cast<char32_t>(quote) || c.value == '\\') {
      out += '\\';
      out += text[i];
    } else if (c.value == '\n') {
      out += "\\n";
    } else if (c.value == '\r') {
      out += "\\r";
    } else if (c.value == '\t') {
      out += "\\t";
    } else if (is_printable(c.value)) {
      out.append(text, i, c.size);
    } else if (c.value < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(c.value));
    } else if (c.value < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c.value));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<unsigned>(c.value));
    }
    i += c.size;
  }
  out += quote;
}

void append_representation(const Value& value, std::string& out);

void append_items(const std::vector<Value>& items, std::string& out) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    append_representation(items[i], out);
  }
}

void append_list(const List& list, std::string& out) {
  switch (list.kind) {
    case ListKind::tuple:
    case ListKind::group:
      out += '(';
      append_items(list.items, out);
      out += list.items.size() == 1 ? ",)" : ")";
      return;
    case ListKind::range:
      out += list.step == 1 ? fmt::format("range({}, {})", list.begin, list.end)
                            : fmt::format("range({}, {}, {})", list.begin, list.end, list.step);
      return;
    case ListKind::list:
    case ListKind::keys:
    case ListKind::values:
    case ListKind::pairs:
      static constexpr const char* kViews[] = {"", "", "", "", "dict_keys(", "dict_values(", "dict_items("};
      out += kViews[static_cast<size_t>(list.kind)];
      out += '[';
      append_items(list.items, out);
      out += list.kind == ListKind::list ? "]" : "])";
  }
}

void append_representation(const Value& value, std::string& out) {
  if (const std::string* text = value.string()) return append_quoted(*text, out);
  if (const List* list = value.list()) return append_list(*list, out);
  if (const Dictionary* dictionary = value.entries()) {
    out += '{';
    for (size_t i = 0; i < dictionary->entries.size(); ++i) {
      if (i > 0) out += ", ";
      append_representation(dictionary->entries[i].first, out);
      out += ": ";
      append_representation(dictionary->entries[i].second, out);
    }
    out += '}';
    return;
  }
  out += value.is_undefined() ? "Undefined" : to_text(value);
}

}  // namespace

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

std::string to_text(const Value& value) {
  if (const std::string* text = value.string()) return *text;
  if (value.is_undefined()) return "";
  if (value.is_none()) return "None";
  if (const bool* flag = value.get<bool>()) return *flag ? "True" : "False";
  if (const int64_t* number = value.get<int64_t>()) return std::to_string(*number);
  if (const double* number = value.get<double>()) return float_text(*number);
  if (value.is_integer()) return value.whole()->text();
  if (value.items() != nullptr || value.entries() != nullptr) {
    std::string out;
    append_representation(value, out);
    return out;
  }
  if (const Function* function = value.function(); function != nullptr && function->kind == Function::Kind::macro) {
    return "<Macro '" + function->name + "'>";
  }
  if (const LoopState* loop = value.loop()) {
    return fmt::format("<LoopContext {}/{}>", loop->index + 1, loop->items->items.size());
  }
  // Python writes where in memory it lies, which no prompt can mean.
  if (const Generator* generator = value.generator()) return "<generator object " + generator->name + ">";
  template_fail("a {} has no text", value.type_name());
}

std::string representation_of(const Value& value) {
  std::string out;
  append_representation(value, out);
  return out;
}

}  // namespace incontext::text
