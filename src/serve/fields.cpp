#include "serve/fields.h"

#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "base/exact_json.h"
#include "base/json_limits.h"
#include "serve/request_error.h"

namespace incontext::serve {

using base::Allowed;
using base::Json;

namespace {

// What is below walks bodies recursively, and objects of ordered keys are searched from their beginning.
constexpr int kDeepest = 64;

void check_range(const std::string& name, double value, const Allowed& allowed) {
  const bool above = allowed.minimum_excluded ? value > allowed.minimum : value >= allowed.minimum;
  if (above && value <= allowed.maximum) return;
  if (std::isinf(allowed.maximum)) {
    refuse(name, "{}: expected {} {}, got {}", name, allowed.minimum_excluded ? "a number above" : "at least",
           allowed.minimum, value);
  }
  refuse(name, "{}: expected {} to {}, got {}", name, allowed.minimum, allowed.maximum, value);
}

int64_t whole_number(const std::string& name, const Json& json) {
  if (base::big_integer_digits(json) || (json.is_number_unsigned() && json.get<uint64_t>() > INT64_MAX)) {
    refuse(name, "{}: the number {} is too large", name, shown(json));
  }
  const bool whole =
      json.is_number_integer() || (json.is_number_float() && std::trunc(json.get<double>()) == json.get<double>() &&
                                   std::abs(json.get<double>()) < 9e15);
  if (!whole) refuse(name, "{}: expected a whole number, got {}", name, shown(json));
  return json.get<int64_t>();
}

}  // namespace

std::string shown(const Json& json) {
  const std::optional<std::string> digits = base::big_integer_digits(json);
  std::string text = digits                 ? *digits
                     : json.is_structured() ? (json.is_array() ? "a list" : "an object")
                                            : json.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  for (char& c : text) c = static_cast<unsigned char>(c) >= 0x80 ? '?' : c;  // a cut may have left half a character
  return text;
}

int64_t check_limits(const std::string& text, const std::string& field, const std::string& what, int64_t most_keys) {
  using Broken = base::JsonScan::Broken;
  const base::JsonScan scan = base::scan_json(text, {.deepest = kDeepest, .most_keys = most_keys});
  if (scan.broken == Broken::depth) refuse(field, "{} is nested more than {} deep", what, kDeepest);
  if (scan.broken == Broken::keys) refuse(field, "{} has more than {} fields", what, kMostKeys);
  return scan.keys;
}

Json parse_body(const std::string& text) {
  check_limits(text, "", "the body", kMostKeys);
  Json json;
  try {
    json = base::parse_exact_json(text);
  } catch (const Json::parse_error& error) {
    const bool encoding = std::string(error.what()).find("UTF-8") != std::string::npos;
    refuse("", "the body is not {}: at byte {} of {}", encoding ? "UTF-8" : "JSON", error.byte, text.size());
  } catch (const Json::out_of_range&) {
    refuse("", "the body holds a number that is too large");
  }
  if (!json.is_object()) refuse("", "the body: expected an object, got {}", shown(json));
  return json;
}

const Json* Fields::find(const std::string& name) const {
  const auto found = json_.find(name);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

void Fields::read(const std::string& name, bool& value) const {
  const Json* json = find(name);
  if (json == nullptr) return;
  if (!json->is_boolean()) refuse(path(name), "{}: expected true or false, got {}", path(name), shown(*json));
  value = json->get<bool>();
}

void Fields::read(const std::string& name, std::string& value) const {
  const Json* json = find(name);
  if (json == nullptr) return;
  if (!json->is_string()) refuse(path(name), "{}: expected a string, got {}", path(name), shown(*json));
  value = json->get<std::string>();
}

void Fields::read(const std::string& name, int64_t& value, const Allowed& allowed) const {
  const Json* json = find(name);
  if (json == nullptr) return;
  value = whole_number(path(name), *json);
  check_range(path(name), static_cast<double>(value), allowed);
}

// Negative numbers name seeds too: as two's complement.
void Fields::read(const std::string& name, uint64_t& value, const Allowed&) const {
  const Json* json = find(name);
  if (json == nullptr) return;
  value = json->is_number_unsigned() ? json->get<uint64_t>() : static_cast<uint64_t>(whole_number(path(name), *json));
}

void Fields::read(const std::string& name, double& value, const Allowed& allowed) const {
  const Json* json = find(name);
  if (json == nullptr) return;
  const std::optional<std::string> digits = base::big_integer_digits(*json);
  if (!digits && !json->is_number()) refuse(path(name), "{}: expected a number, got {}", path(name), shown(*json));
  value = digits ? std::strtod(digits->c_str(), nullptr) : json->get<double>();
  check_range(path(name), value, allowed);
}

std::vector<int64_t> token_list(const Json& json, const std::string& name, int64_t vocabulary) {
  if (!json.is_array()) refuse(name, "{}: expected a list of token ids, got {}", name, shown(json));
  std::vector<int64_t> tokens;
  tokens.reserve(json.size());
  for (const Json& item : json) {
    const int64_t token = whole_number(name, item);
    if (token < 0 || token >= vocabulary) {
      refuse(name, "{}: expected token ids from 0 to {}, got {}", name, vocabulary - 1, token);
    }
    tokens.push_back(token);
  }
  return tokens;
}

}  // namespace incontext::serve
