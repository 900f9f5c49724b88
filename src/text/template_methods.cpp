#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>

#include "text/normalizer.h"
#include "text/template_functions.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

utf8proc_int32_t as_utf8proc(char32_t c) { return static_cast<utf8proc_int32_t>(c); }

bool is_letter(char32_t c) {
  const auto kind = utf8proc_category(as_utf8proc(c));
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

template <class Wanted>
bool all_characters(const std::string& text, Wanted wanted) {
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if (!wanted(c.value)) return false;
    i += c.size;
  }
  return !text.empty();
}

// Python's title(): a letter after something that is none is upper case, every other lower case.
std::string title_text(const std::string& text) {
  std::string out;
  bool in_word = false;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    const std::string_view character = std::string_view(text).substr(i, c.size);
    out += in_word ? to_lower(character) : capitalized(character);
    in_word = is_letter(c.value);
    i += c.size;
  }
  return out;
}

bool has_case(const std::string& text, bool upper) {
  const auto wrong = upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU;
  const auto right = upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL;
  bool any = false;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    const auto kind = utf8proc_category(as_utf8proc(c.value));
    if (kind == wrong) return false;
    any = any || kind == right;
    i += c.size;
  }
  return any;
}

std::vector<Value> split_at_space(const std::string& text, int64_t most, bool from_right) {
  std::vector<std::string> words;
  std::string_view rest = text;
  const auto is_done = [&] { return most >= 0 && static_cast<int64_t>(words.size()) >= most; };
  std::string stripped = strip_text(rest, "", true, true);
  if (most < 0 || !from_right)
    stripped = strip_text(rest, "", true, false);
  else
    stripped = strip_text(rest, "", false, true);
  rest = stripped;
  while (!rest.empty() && !is_done()) {
    size_t at = from_right && most >= 0 ? rest.size() : 0;
    if (from_right && most >= 0) {
      while (at > 0 && !is_whitespace(code_point_before(rest, at).value)) at -= code_point_before(rest, at).size;
      words.emplace_back(rest.substr(at));
      rest = rest.substr(0, at);
      while (!rest.empty() && is_whitespace(code_point_before(rest, rest.size()).value)) {
        rest.remove_suffix(code_point_before(rest, rest.size()).size);
      }
    } else {
      while (at < rest.size() && !is_whitespace(code_point_at(rest, at).value)) at += code_point_at(rest, at).size;
      words.emplace_back(rest.substr(0, at));
      rest = rest.substr(at);
      while (!rest.empty() && is_whitespace(code_point_at(rest, 0).value))
        rest.remove_prefix(code_point_at(rest, 0).size);
    }
  }
  if (!rest.empty()) words.emplace_back(rest);
  if (from_right && most >= 0) std::reverse(words.begin(), words.end());
  return {words.begin(), words.end()};
}

std::vector<Value> split_at(const std::string& text, const std::string& separator, int64_t most, bool from_right) {
  template_check(!separator.empty(), "split: the separator is empty");
  std::vector<size_t> places;
  for (size_t at = find_in(text, separator); at != std::string::npos;
       at = find_in(text, separator, at + separator.size())) {
    places.push_back(at);
  }
  if (most >= 0 && static_cast<int64_t>(places.size()) > most) {
    const auto extra = static_cast<std::ptrdiff_t>(places.size()) - static_cast<std::ptrdiff_t>(most);
    if (from_right) {
      places.erase(places.begin(), places.begin() + extra);
    } else {
      places.resize(static_cast<size_t>(most));
    }
  }
  std::vector<Value> out;
  size_t begin = 0;
  for (const size_t place : places) {
    out.emplace_back(text.substr(begin, place - begin));
    begin = place + separator.size();
  }
  out.emplace_back(text.substr(begin));
  return out;
}

Value split_method(const std::string& text, Arguments& arguments, bool from_right, TemplateBudget& budget) {
  budget.charge(1 + text.size());
  const auto separator = arguments.take("sep");
  const int64_t most = arguments.integer_or("maxsplit", -1);
  if (!separator || separator->is_none()) return Value::list(split_at_space(text, most, from_right));
  template_check(separator->is_string(), "split: expected a text, got {}", separator->type_name());
  return Value::list(split_at(text, *separator->string(), most, from_right));
}

// One text, or a list of them of which any will do.
bool matches_edge(const std::string& text, const Value& edge, bool start) {
  if (const auto* items = edge.items()) {
    return std::any_of(items->begin(), items->end(), [&](const Value& one) { return matches_edge(text, one, start); });
  }
  template_check(edge.is_string(), "{}: expected a text, got {}", start ? "startswith" : "endswith", edge.type_name());
  return start ? text.starts_with(*edge.string()) : text.ends_with(*edge.string());
}

Value strip_method(const std::string& text, Arguments& arguments, bool left, bool right) {
  const auto characters = arguments.take("chars");
  if (!characters || characters->is_none()) return strip_text(text, "", left, right);
  template_check(characters->is_string(), "strip: expected a text, got {}", characters->type_name());
  return characters->string()->empty() ? text : strip_text(text, *characters->string(), left, right);
}

Value find_method(const std::string& text, Arguments& arguments, bool from_right) {
  const std::string wanted = arguments.text("sub");
  const size_t at = from_right ? find_last_in(text, wanted) : find_in(text, wanted);
  if (at == std::string::npos) return int64_t{-1};
  return static_cast<int64_t>(count_code_points(std::string_view(text).substr(0, at)));
}

Value count_method(const std::string& text, Arguments& arguments) {
  const std::string wanted = arguments.text("sub");
  if (wanted.empty()) return static_cast<int64_t>(count_code_points(text)) + 1;
  int64_t count = 0;
  for (size_t at = find_in(text, wanted); at != std::string::npos; at = find_in(text, wanted, at + wanted.size())) {
    ++count;
  }
  return count;
}

Value join_method(const std::string& text, Arguments& arguments, TemplateBudget& budget) {
  std::string out;
  bool first = true;
  for (const Value& item : iterate(arguments.require("iterable"), budget)) {
    template_check(item.is_string(), "join: expected texts, got {}", item.type_name());
    if (!first) out += text;
    first = false;
    budget.charge_bytes(text.size() + item.string()->size());
    out += *item.string();
  }
  return out;
}

using TextMethod = std::function<Value(const std::string&, Arguments&, TemplateBudget&)>;

const std::map<std::string, TextMethod, std::less<>>& text_methods() {
  using Text = std::string;
  using Budget = TemplateBudget;
  static const std::map<std::string, TextMethod, std::less<>> table = {
      {"strip", [](const Text& t, Arguments& a, Budget&) { return strip_method(t, a, true, true); }},
      {"lstrip", [](const Text& t, Arguments& a, Budget&) { return strip_method(t, a, true, false); }},
      {"rstrip", [](const Text& t, Arguments& a, Budget&) { return strip_method(t, a, false, true); }},
      {"split", [](const Text& t, Arguments& a, Budget& b) { return split_method(t, a, false, b); }},
      {"rsplit", [](const Text& t, Arguments& a, Budget& b) { return split_method(t, a, true, b); }},
      {"splitlines",
       [](const Text& t, Arguments&, Budget& b) {
         b.charge(1 + t.size());
         const std::vector<Text> lines = lines_of(t);
         return Value::list({lines.begin(), lines.end()});
       }},
      {"startswith",
       [](const Text& t, Arguments& a, Budget&) { return Value(matches_edge(t, a.require("prefix"), true)); }},
      {"endswith",
       [](const Text& t, Arguments& a, Budget&) { return Value(matches_edge(t, a.require("suffix"), false)); }},
      {"upper", [](const Text& t, Arguments&, Budget&) { return Value(upper_text(t)); }},
      {"lower", [](const Text& t, Arguments&, Budget&) { return Value(to_lower(t)); }},
      {"title", [](const Text& t, Arguments&, Budget&) { return Value(title_text(t)); }},
      {"capitalize", [](const Text& t, Arguments&, Budget&) { return Value(capitalized(t)); }},
      {"replace",
       [](const Text& t, Arguments& a, Budget& b) {
         const Text from = a.text("old"), to = a.text("new");
         return Value(replace_in(t, from, to, a.integer_or("count", -1), b));
       }},
      {"find", [](const Text& t, Arguments& a, Budget&) { return find_method(t, a, false); }},
      {"rfind", [](const Text& t, Arguments& a, Budget&) { return find_method(t, a, true); }},
      {"count", [](const Text& t, Arguments& a, Budget&) { return count_method(t, a); }},
      {"join", join_method},
      {"isdigit", [](const Text& t, Arguments&, Budget&) { return Value(all_characters(t, is_numeric)); }},
      {"isalpha", [](const Text& t, Arguments&, Budget&) { return Value(all_characters(t, is_letter)); }},
      {"isalnum",
       [](const Text& t, Arguments&, Budget&) {
         return Value(all_characters(t, [](char32_t c) { return is_letter(c) || is_numeric(c); }));
       }},
      {"isspace", [](const Text& t, Arguments&, Budget&) { return Value(all_characters(t, is_whitespace)); }},
      {"isupper", [](const Text& t, Arguments&, Budget&) { return Value(has_case(t, true)); }},
      {"islower", [](const Text& t, Arguments&, Budget&) { return Value(has_case(t, false)); }},
      {"removeprefix",
       [](const Text& t, Arguments& a, Budget&) {
         const Text prefix = a.text("prefix");
         return Value(t.starts_with(prefix) ? t.substr(prefix.size()) : t);
       }},
      {"removesuffix",
       [](const Text& t, Arguments& a, Budget&) {
         const Text suffix = a.text("suffix");
         return Value(t.ends_with(suffix) ? t.substr(0, t.size() - suffix.size()) : t);
       }},
  };
  return table;
}

Value pairs_of(const Dictionary& dictionary) {
  std::vector<Value> out;
  for (const auto& [key, value] : dictionary.entries) out.push_back(Value::list({Value(key), value}, true));
  return Value::list(std::move(out));
}

constexpr std::string_view kDictionaryMethods[] = {"get", "items", "keys", "values"};
constexpr std::string_view kChangingMethods[] = {"append", "extend", "insert",  "remove",     "sort",  "reverse",
                                                 "pop",    "clear",  "popitem", "setdefault", "update"};

template <size_t size>
bool contains(const std::string_view (&names)[size], const std::string& name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

Value dictionary_method(const Dictionary& dictionary, const std::string& name, Arguments& arguments) {
  if (name == "get") {
    const Value key = arguments.require("key");
    const Value fallback = arguments.take("default").value_or(None{});
    const Value* found = key.is_string() ? dictionary.find(*key.string()) : nullptr;
    return found == nullptr ? fallback : *found;
  }
  if (name == "items") return pairs_of(dictionary);
  std::vector<Value> out;
  for (const auto& [key, value] : dictionary.entries) {
    if (name == "keys") {
      out.emplace_back(key);
    } else {
      out.push_back(value);
    }
  }
  return Value::list(std::move(out));
}

}  // namespace

bool has_method(const Value& receiver, const std::string& name) {
  if (receiver.is_string()) return text_methods().contains(name);
  if (receiver.entries() != nullptr) return contains(kDictionaryMethods, name);
  return receiver.items() != nullptr && contains(kChangingMethods, name);
}

Value call_method(const Value& receiver, const std::string& name, Arguments arguments, TemplateBudget& budget) {
  budget.charge(arguments.weight());
  Value out;
  if (const std::string* text = receiver.string()) {
    budget.charge_bytes(text->size());
    out = text_methods().at(name)(*text, arguments, budget);
  } else if (const Dictionary* dictionary = receiver.entries()) {
    budget.charge(1 + dictionary->entries.size());
    out = dictionary_method(*dictionary, name, arguments);
  } else {
    // As in transformers, whose templates run in a sandbox.
    template_fail("'{}' would change a list; write {{% set space.list = space.list + [...] %}} with a namespace", name);
  }
  arguments.finish();
  return out;
}

std::string strip_text(std::string_view text, std::string_view characters, bool left, bool right) {
  std::vector<char32_t> wanted;
  for (size_t i = 0; i < characters.size(); i += code_point_at(characters, i).size) {
    wanted.push_back(code_point_at(characters, i).value);
  }
  std::sort(wanted.begin(), wanted.end());
  const auto goes = [&](const CodePoint& c) {
    if (wanted.empty()) return is_whitespace(c.value) || (c.value >= 0x1C && c.value <= 0x1F);
    return std::binary_search(wanted.begin(), wanted.end(), c.value);
  };
  size_t begin = 0, end = text.size();
  while (left && begin < end) {
    const CodePoint c = code_point_at(text, begin);
    if (!goes(c)) break;
    begin += c.size;
  }
  while (right && end > begin) {
    const CodePoint c = code_point_before(text, end);
    if (!goes(c)) break;
    end -= c.size;
  }
  return std::string(text.substr(begin, end - begin));
}

std::string upper_text(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if (c.value == 0xDF) {
      out += "SS";
    } else {
      append_utf8(out, static_cast<char32_t>(utf8proc_toupper(as_utf8proc(c.value))));
    }
    i += c.size;
  }
  return out;
}

std::string capitalized(std::string_view text) {
  if (text.empty()) return "";
  const CodePoint first = code_point_at(text, 0);
  std::string out;
  if (first.value == 0xDF) {
    out = "Ss";
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_totitle(as_utf8proc(first.value))));
  }
  return out + to_lower(text.substr(first.size));
}

std::string replace_in(const std::string& text, const std::string& from, const std::string& to, int64_t count,
                       TemplateBudget& budget) {
  std::string out;
  if (from.empty()) {  // Python puts the new text before every character and at the end
    for (size_t i = 0; i < text.size();) {
      const size_t size = code_point_at(text, i).size;
      if (count-- != 0) {
        budget.charge_bytes(to.size());
        out += to;
      }
      out.append(text, i, size);
      i += size;
    }
    if (count != 0) out += to;
    return out;
  }
  size_t done = 0;
  for (size_t at = find_in(text, from); at != std::string::npos && count != 0; at = find_in(text, from, done)) {
    budget.charge_bytes(to.size() + at - done);
    out.append(text, done, at - done);
    out += to;
    done = at + from.size();
    --count;
  }
  return out + text.substr(done);
}

size_t find_in(std::string_view text, std::string_view wanted, size_t from) {
  // For a byte alone, looking ends where it is found; sanitizers look through all that memmem() is given, every time.
  if (wanted.size() == 1) return text.find(wanted[0], from);
  // The C library's search takes linear time, that of std::string the product of both lengths.
  const void* found =
      from > text.size() ? nullptr : ::memmem(text.data() + from, text.size() - from, wanted.data(), wanted.size());
  return found == nullptr ? std::string_view::npos : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t find_last_in(std::string_view text, std::string_view wanted) {
  const std::string backwards(text.rbegin(), text.rend()), wanted_backwards(wanted.rbegin(), wanted.rend());
  const size_t found = find_in(backwards, wanted_backwards);
  return found == std::string_view::npos ? found : text.size() - found - wanted.size();
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> out;
  std::string line;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\n' && text[i] != '\r') {
      line += text[i];
      continue;
    }
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') ++i;
    out.push_back(std::move(line));
    line.clear();
  }
  if (!line.empty()) out.push_back(std::move(line));
  return out;
}

}  // namespace incontext::text
