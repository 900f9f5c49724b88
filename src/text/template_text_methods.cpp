#include <algorithm>

#include "text/template_format.h"
#include "text/template_functions.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

using Text = const std::string&;
using Budget = TemplateBudget;

template <class Wanted>
bool all_characters(Text text, Wanted wanted) {
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if (!wanted(c.value)) return false;
    i += c.size;
  }
  return true;
}

template <class Wanted>
Value not_empty_and_all(Text text, Wanted wanted) {
  return !text.empty() && all_characters(text, wanted);
}

// isupper() and islower(): a letter of this case, and none of another.
bool has_case(Text text, bool (*right)(char32_t), bool (*wrong)(char32_t)) {
  bool any = false;
  return all_characters(text,
                        [&](char32_t c) {
                          any = any || right(c);
                          return !wrong(c) && !is_python_title(c);
                        }) &&
         any;
}

// Every word begins with an upper case letter, and has no other.
bool is_title(Text text) {
  bool any = false, in_word = false;
  return all_characters(text,
                        [&](char32_t c) {
                          const bool upper = is_python_upper(c) || is_python_title(c), lower = is_python_lower(c);
                          if ((upper && in_word) || (lower && !in_word)) return false;
                          in_word = upper || lower;
                          any = any || in_word;
                          return true;
                        }) &&
         any;
}

bool is_name(Text text) {
  bool first = true;
  return !text.empty() && all_characters(text, [&](char32_t c) {
    const bool good =
        begins_python_name(c) ||
        (!first && (is_mark(c) || is_python_decimal(c) || (is_word(c) && !is_punctuation(c)) || c == 0xB7));
    first = false;
    return good;
  });
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
      while (at > 0 && !is_python_space(code_point_before(rest, at).value)) at -= code_point_before(rest, at).size;
      words.emplace_back(rest.substr(at));
      rest = rest.substr(0, at);
      while (!rest.empty() && is_python_space(code_point_before(rest, rest.size()).value)) {
        rest.remove_suffix(code_point_before(rest, rest.size()).size);
      }
    } else {
      while (at < rest.size() && !is_python_space(code_point_at(rest, at).value)) at += code_point_at(rest, at).size;
      words.emplace_back(rest.substr(0, at));
      rest = rest.substr(at);
      while (!rest.empty() && is_python_space(code_point_at(rest, 0).value))
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

Value split_method(Text text, Arguments& arguments, bool from_right, Budget& budget) {
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

// The part of a text that the arguments `start` and `end` name, and where it begins.
struct Part {
  std::string text;
  int64_t begin = 0;
  bool inside = true;  // false: it begins behind the end of the text
};

Part part_of(Text text, Arguments& arguments, Budget& budget) {
  const auto bound = [&](const char* name) -> std::optional<int64_t> {
    const auto value = arguments.take(name);
    if (!value || value->is_none()) return std::nullopt;
    return integer_of(*value, arguments.function());
  };
  const auto begin = bound("start"), end = bound("end");
  if (!begin && !end) return {text};
  const auto size = static_cast<int64_t>(count_code_points(text));
  const auto place = [&](int64_t at) { return at < 0 ? std::max<int64_t>(at + size, 0) : at; };
  const int64_t first = place(begin.value_or(0)), last = std::min(place(end.value_or(size)), size);
  if (first > size || first > last) return {"", first, false};
  const Value cut = slice_of(text, first, last, 1, budget);
  return {*cut.string(), first};
}

// startswith() and endswith(): one text, or a tuple of them of which any will do.
Value edge_method(Text text, Arguments& arguments, bool start, Budget& budget) {
  const Value edge = arguments.require(start ? "prefix" : "suffix");
  const Part part = part_of(text, arguments, budget);
  const auto matches = [&](const Value& one) {
    template_check(one.is_string(), "{}: expected a text, got {}", arguments.function(), one.type_name());
    return part.inside && (start ? part.text.starts_with(*one.string()) : part.text.ends_with(*one.string()));
  };
  if (!edge.is_tuple()) return matches(edge);
  return std::any_of(edge.items()->begin(), edge.items()->end(), matches);
}

Value strip_method(Text text, Arguments& arguments, bool left, bool right) {
  const auto characters = arguments.text_or_none("chars");
  if (!characters) return strip_text(text, "", left, right);
  return characters->empty() ? text : strip_text(text, *characters, left, right);
}

Value find_method(Text text, Arguments& arguments, bool from_right, bool must_be_there, Budget& budget) {
  const std::string wanted = arguments.text("sub");
  const Part part = part_of(text, arguments, budget);
  const size_t at = !part.inside ? std::string::npos
                    : from_right ? find_last_in(part.text, wanted)
                                 : find_in(part.text, wanted);
  template_check(at != std::string::npos || !must_be_there, "{}: the text does not hold '{}'", arguments.function(),
                 wanted);
  if (at == std::string::npos) return int64_t{-1};
  return part.begin + static_cast<int64_t>(count_code_points(std::string_view(part.text).substr(0, at)));
}

Value count_method(Text text, Arguments& arguments, Budget& budget) {
  const std::string wanted = arguments.text("sub");
  const Part part = part_of(text, arguments, budget);
  if (!part.inside) return int64_t{0};
  if (wanted.empty()) return static_cast<int64_t>(count_code_points(part.text)) + 1;
  int64_t count = 0;
  for (size_t at = find_in(part.text, wanted); at != std::string::npos;
       at = find_in(part.text, wanted, at + wanted.size())) {
    ++count;
  }
  return count;
}

Value join_method(Text text, Arguments& arguments, Budget& budget) {
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

// The text before the separator, the separator, and the text behind it.
Value partition_method(Text text, Arguments& arguments, bool from_right) {
  const std::string separator = arguments.text("sep");
  template_check(!separator.empty(), "{}: the separator is empty", arguments.function());
  const size_t at = from_right ? find_last_in(text, separator) : find_in(text, separator);
  std::vector<Value> parts;
  if (at != std::string::npos) {
    parts = {text.substr(0, at), separator, text.substr(at + separator.size())};
  } else if (from_right) {
    parts = {"", "", text};
  } else {
    parts = {text, "", ""};
  }
  return Value::list(std::move(parts), ListKind::tuple);
}

Value adjusted(Text text, Arguments& arguments, char alignment, Budget& budget) {
  const int64_t width = std::max<int64_t>(integer_of(arguments.require("width"), arguments.function()), 0);
  const std::string fill = arguments.text_or("fillchar", " ");
  template_check(count_code_points(fill) == 1, "{}: expected one character to fill with", arguments.function());
  template_check(width <= 64'000'000, "{}: a width of {} is too large", arguments.function(), width);
  const auto size = static_cast<int64_t>(count_code_points(text));
  // Python's center() puts the odd blank to the left where the width is odd.
  if (alignment == '^' && width > size && (width - size) % 2 != 0 && width % 2 != 0) {
    return padded(fill + text, static_cast<size_t>(width), '^', fill, budget);
  }
  return padded(text, static_cast<size_t>(width), alignment, fill, budget);
}

Value zfill_method(Text text, Arguments& arguments, Budget& budget) {
  const int64_t width = integer_of(arguments.require("width"), "zfill");
  template_check(width <= 64'000'000, "zfill: a width of {} is too large", width);
  const size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  const auto rest = static_cast<size_t>(std::max<int64_t>(width - static_cast<int64_t>(sign), 0));
  return text.substr(0, sign) + padded(text.substr(sign), rest, '>', "0", budget);
}

Value expandtabs_method(Text text, Arguments& arguments, Budget& budget) {
  const int64_t size = arguments.integer_or("tabsize", 8);
  template_check(size <= 1000, "expandtabs: a width of {} is too large", size);
  std::string out;
  int64_t column = 0;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if (c.value == '\t') {
      const int64_t blanks = size > 0 ? size - column % size : 0;
      budget.charge_bytes(static_cast<size_t>(blanks));
      out.append(static_cast<size_t>(blanks), ' ');
      column += blanks;
    } else {
      out.append(text, i, c.size);
      column = c.value == '\n' || c.value == '\r' ? 0 : column + 1;
    }
    i += c.size;
  }
  return out;
}

Value splitlines_method(Text text, Arguments& arguments, Budget& budget) {
  budget.charge(1 + text.size());
  const std::vector<std::string> lines = lines_of(text, arguments.flag_or("keepends", false));
  return Value::list({lines.begin(), lines.end()});
}

Value replace_method(Text text, Arguments& arguments, Budget& budget) {
  const std::string from = arguments.text("old"), to = arguments.text("new");
  return replace_in(text, from, to, arguments.integer_or("count", -1), budget);
}

Value format_method(Text text, Arguments& arguments, Budget& budget) {
  const std::vector<Value> places = arguments.rest();
  return format_braces(text, places, arguments.rest_named(), budget);
}

Value format_map_method(Text text, Arguments& arguments, Budget& budget) {
  const Value mapping = arguments.require("mapping");
  template_check(mapping.entries() != nullptr, "format_map: expected a dictionary, got {}", mapping.type_name());
  std::vector<std::pair<std::string, Value>> named;
  for (const auto& [key, value] : mapping.entries()->entries) {
    if (key.is_string()) named.emplace_back(*key.string(), value);
  }
  budget.charge(named.size());
  return format_braces(text, {}, named, budget);
}

Value removed(Text text, Arguments& arguments, bool start) {
  const std::string edge = arguments.text(start ? "prefix" : "suffix");
  if (start) return text.starts_with(edge) ? text.substr(edge.size()) : text;
  return text.ends_with(edge) ? text.substr(0, text.size() - edge.size()) : text;
}

bool is_letter_or_number(char32_t c) {
  return is_python_letter(c) || is_python_decimal(c) || is_python_digit(c) || is_python_numeric(c);
}

}  // namespace

const std::map<std::string, TextMethod, std::less<>>& text_methods() {
  using A = Arguments&;
  using B = Budget&;
  static const std::map<std::string, TextMethod, std::less<>> table = {
      {"capitalize", [](Text t, A, B) -> Value { return capitalized(t); }},
      {"casefold", [](Text t, A, B) -> Value { return casefold_text(t); }},
      {"center", [](Text t, A a, B b) { return adjusted(t, a, '^', b); }},
      {"count", count_method},
      {"endswith", [](Text t, A a, B b) { return edge_method(t, a, false, b); }},
      {"expandtabs", expandtabs_method},
      {"find", [](Text t, A a, B b) { return find_method(t, a, false, false, b); }},
      {"format", format_method},
      {"format_map", format_map_method},
      {"index", [](Text t, A a, B b) { return find_method(t, a, false, true, b); }},
      {"isalnum", [](Text t, A, B) { return not_empty_and_all(t, is_letter_or_number); }},
      {"isalpha", [](Text t, A, B) { return not_empty_and_all(t, is_python_letter); }},
      {"isascii", [](Text t, A, B) -> Value { return all_characters(t, [](char32_t c) { return c < 0x80; }); }},
      {"isdecimal", [](Text t, A, B) { return not_empty_and_all(t, is_python_decimal); }},
      {"isdigit", [](Text t, A, B) { return not_empty_and_all(t, is_python_digit); }},
      {"isidentifier", [](Text t, A, B) -> Value { return is_name(t); }},
      {"islower", [](Text t, A, B) -> Value { return has_case(t, is_python_lower, is_python_upper); }},
      {"isnumeric", [](Text t, A, B) { return not_empty_and_all(t, is_python_numeric); }},
      {"isprintable", [](Text t, A, B) -> Value { return all_characters(t, is_printable); }},
      {"isspace", [](Text t, A, B) { return not_empty_and_all(t, is_python_space); }},
      {"istitle", [](Text t, A, B) -> Value { return is_title(t); }},
      {"isupper", [](Text t, A, B) -> Value { return has_case(t, is_python_upper, is_python_lower); }},
      {"join", join_method},
      {"ljust", [](Text t, A a, B b) { return adjusted(t, a, '<', b); }},
      {"lower", [](Text t, A, B) -> Value { return lower_text(t); }},
      {"lstrip", [](Text t, A a, B) { return strip_method(t, a, true, false); }},
      {"partition", [](Text t, A a, B) { return partition_method(t, a, false); }},
      {"removeprefix", [](Text t, A a, B) { return removed(t, a, true); }},
      {"removesuffix", [](Text t, A a, B) { return removed(t, a, false); }},
      {"replace", replace_method},
      {"rfind", [](Text t, A a, B b) { return find_method(t, a, true, false, b); }},
      {"rindex", [](Text t, A a, B b) { return find_method(t, a, true, true, b); }},
      {"rjust", [](Text t, A a, B b) { return adjusted(t, a, '>', b); }},
      {"rpartition", [](Text t, A a, B) { return partition_method(t, a, true); }},
      {"rsplit", [](Text t, A a, B b) { return split_method(t, a, true, b); }},
      {"rstrip", [](Text t, A a, B) { return strip_method(t, a, false, true); }},
      {"split", [](Text t, A a, B b) { return split_method(t, a, false, b); }},
      {"splitlines", splitlines_method},
      {"startswith", [](Text t, A a, B b) { return edge_method(t, a, true, b); }},
      {"strip", [](Text t, A a, B) { return strip_method(t, a, true, true); }},
      {"swapcase", [](Text t, A, B) -> Value { return swapcase_text(t); }},
      {"title", [](Text t, A, B) -> Value { return title_text(t); }},
      {"upper", [](Text t, A, B) -> Value { return upper_text(t); }},
      {"zfill", zfill_method},
  };
  return table;
}

}  // namespace incontext::text
