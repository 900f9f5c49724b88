#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// JSON as Python's json module writes it: NaN, Infinity and -Infinity stand where numbers do, though JSON has no such
// words. Config files of models hold them.

namespace incontext::base {
namespace detail {

/// The text with each of these words, outside of strings, as a string that begins with a zero byte; nothing where there
/// is none.
std::optional<std::string> quote_constants(std::string_view text);

/// The number that such a string stands for.
std::optional<double> constant_of(const std::string& text);

}  // namespace detail

/// Parses JSON; throws what the library throws. `JsonType` is one of the library's types.
template <class JsonType>
JsonType parse_python_json(const std::string& text) {
  const std::optional<std::string> quoted = detail::quote_constants(text);
  if (!quoted) return JsonType::parse(text);
  JsonType json = JsonType::parse(*quoted);
  std::vector<JsonType*> open = {&json};  // no recursion: the parser takes any depth
  while (!open.empty()) {
    JsonType& value = *open.back();
    open.pop_back();
    if (value.is_string()) {
      const std::optional<double> number = detail::constant_of(value.template get_ref<const std::string&>());
      if (number) value = *number;
    } else if (value.is_structured()) {
      for (JsonType& item : value) open.push_back(&item);
    }
  }
  return json;
}

/// A JSON value for messages: numbers that JSON does not have by their Python names, where the library writes null.
template <class JsonType>
std::string json_text(const JsonType& value) {
  if (value.is_number_float()) {
    const double number = value.template get<double>();
    if (number != number) return "NaN";
    if (number - number != 0) return number > 0 ? "Infinity" : "-Infinity";
  }
  return value.dump(-1, ' ', true);
}

}  // namespace incontext::base
