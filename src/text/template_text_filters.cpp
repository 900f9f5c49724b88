#include <algorithm>

#include "text/template_filters.h"
#include "text/template_format.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

using Budget = TemplateBudget;

const std::string& given_text(const Value& value, const Arguments& arguments) {
  template_check(value.is_string(), "{}: expected a text, got {}", arguments.function(), value.type_name());
  return *value.string();
}

Value trim(const Value& value, Arguments& arguments, Budget& budget) {
  const auto characters = arguments.text_or_none("chars");
  const std::string text = charged_text(value, budget);
  if (!characters) return strip_text(text, "", true, true);
  return characters->empty() ? text : strip_text(text, *characters, true, true);
}

Value upper(const Value& value, Arguments&, Budget& budget) { return upper_text(charged_text(value, budget)); }
Value lower(const Value& value, Arguments&, Budget& budget) { return lower_text(charged_text(value, budget)); }
Value capitalize(const Value& value, Arguments&, Budget& budget) { return capitalized(charged_text(value, budget)); }

// Jinja's own: words begin after white space, a hyphen or an opening bracket.
Value title(const Value& value, Arguments&, Budget& budget) {
  const std::string text = charged_text(value, budget);
  std::string out, word;
  const auto finish = [&] {
    if (word.empty()) return;
    const size_t first = code_point_at(word, 0).size;
    out += upper_text(word.substr(0, first)) + lower_text(word.substr(first));
    word.clear();
  };
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    const std::string_view character = std::string_view(text).substr(i, c.size);
    if (is_python_space(c.value) || std::string_view("-({[<").find(character) != std::string_view::npos) {
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

Value replace(const Value& value, Arguments& arguments, Budget& budget) {
  const std::string from = charged_text(arguments.require("old"), budget);
  const std::string to = charged_text(arguments.require("new"), budget);
  const auto count = arguments.take("count");
  return replace_in(charged_text(value, budget), from, to,
                    count && !count->is_none() ? integer_of(*count, "replace: count") : -1, budget);
}

Value string(const Value& value, Arguments&, Budget& budget) { return charged_text(value, budget); }

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
  const std::string& text = given_text(value, arguments);
  budget.charge_bytes(text.size());
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

Value center(const Value& value, Arguments& arguments, Budget& budget) {
  const Value width = arguments.take("width").value_or(int64_t{80});
  return call_method(charged_text(value, budget), "center", Arguments("center", {width}, {}), budget);
}

Value truncate(const Value& value, Arguments& arguments, Budget& budget) {
  const int64_t length = arguments.integer_or("length", 255);
  const bool kill_words = arguments.flag_or("killwords", false);
  const std::string end = arguments.text_or("end", "...");
  const auto given_leeway = arguments.take("leeway");
  const int64_t leeway = given_leeway && !given_leeway->is_none() ? integer_of(*given_leeway, "truncate") : 5;
  const auto end_size = static_cast<int64_t>(count_code_points(end));
  template_check(length >= end_size, "truncate: expected a length of at least {}, got {}", end_size, length);
  template_check(leeway >= 0, "truncate: the leeway is {}", leeway);
  if (length_of(value) <= length + leeway) return value;
  given_text(value, arguments);
  std::string kept = *slice_of(value, std::nullopt, length - end_size, 1, budget).string();
  if (!kill_words) kept.resize(std::min(kept.rfind(' '), kept.size()));
  return kept + end;
}

Value wordcount(const Value& value, Arguments&, Budget& budget) {
  const std::string text = charged_text(value, budget);
  int64_t words = 0;
  bool in_word = false;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    const bool is_part = is_python_letter(c.value) || is_python_numeric(c.value) || c.value == '_';
    words += is_part && !in_word ? 1 : 0;
    in_word = is_part;
    i += c.size;
  }
  return words;
}

// text % arguments.
Value format(const Value& value, Arguments& arguments, Budget& budget) {
  std::vector<Value> places = arguments.rest();
  auto named = arguments.rest_named();
  template_check(places.empty() || named.empty(), "format: expected arguments with names or without");
  const std::string text = charged_text(value, budget);
  if (named.empty()) return format_percent(text, Value::list(std::move(places), ListKind::tuple), budget);
  std::vector<std::pair<Value, Value>> entries;
  for (auto& [name, given] : named) entries.emplace_back(name, std::move(given));
  return format_percent(text, Value::dictionary(std::move(entries)), budget);
}

// As in a URL: all but letters, digits and some marks by their bytes.
std::string quoted_for_url(const std::string& text, bool in_query, Budget& budget) {
  budget.charge_bytes(text.size() * 3);
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos || (c == '/' && !in_query);
    if (plain) {
      out += c;
    } else if (c == ' ' && in_query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", byte);
    }
  }
  return out;
}

Value urlencode(const Value& value, Arguments&, Budget& budget) {
  const bool is_list = value.items() != nullptr || value.entries() != nullptr || value.generator() != nullptr;
  if (!is_list) return quoted_for_url(charged_text(value, budget), false, budget);
  const Value pairs =
      value.entries() == nullptr ? value : call_method(value, "items", Arguments("items", {}, {}), budget);
  std::string out;
  for (const Value& pair : iterate(pairs, budget)) {
    const std::vector<Value> both = iterate(pair, budget);
    template_check(both.size() == 2, "urlencode: expected pairs, got {} values", both.size());
    if (!out.empty()) out += '&';
    out += quoted_for_url(charged_text(both[0], budget), true, budget) + "=" +
           quoted_for_url(charged_text(both[1], budget), true, budget);
    budget.charge_bytes(out.size());
  }
  return out;
}

// <, >, &, ' and " as entities of HTML.
Value escape(const Value& value, Arguments&, Budget& budget) {
  std::string out;
  const std::string text = charged_text(value, budget);
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

}  // namespace

const TemplateFilters& text_filters() {
  static const TemplateFilters table = {
      {"capitalize", capitalize}, {"center", center},      {"e", escape},
      {"escape", escape},         {"forceescape", escape}, {"format", format},
      {"indent", indent},         {"lower", lower},        {"replace", replace},
      {"string", string},         {"title", title},        {"trim", trim},
      {"truncate", truncate},     {"upper", upper},        {"urlencode", urlencode},
      {"wordcount", wordcount},
  };
  return table;
}

}  // namespace incontext::text
