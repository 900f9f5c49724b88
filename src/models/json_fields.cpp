#include "models/json_fields.h"

#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/python_json.h"
#include "base/text.h"

namespace incontext::models {

using base::Json;

namespace {

bool is_finite_number(const Json& value) { return value.is_number() && std::isfinite(value.get<double>()); }

}  // namespace

JsonFields::JsonFields(const Json& json, std::string where) : json_(&json), where_(std::move(where)) {
  base::check(json.is_object(), "{}: expected an object, got {}", where_, json.type_name());
}

const Json* JsonFields::find(const std::string& key) const {
  const auto place = json_->find(key);
  return place == json_->end() || place->is_null() ? nullptr : &*place;
}

void JsonFields::fail(const std::string& key, const char* expected) const {
  const Json* value = find(key);
  base::fail("{}: '{}': expected {}, got {}", where_, key, expected,
             value == nullptr ? "nothing" : base::clip(base::printable(base::json_text(*value)), 60));
}

bool JsonFields::has(const std::string& key) const { return find(key) != nullptr; }

int64_t JsonFields::integer(const std::string& key) const {
  const Json* value = find(key);
  if (value == nullptr || !value->is_number_integer()) fail(key, "a whole number");
  return value->get<int64_t>();
}

int64_t JsonFields::integer(const std::string& key, int64_t otherwise) const {
  return has(key) ? integer(key) : otherwise;
}

double JsonFields::number(const std::string& key) const {
  const Json* value = find(key);
  if (value == nullptr || !is_finite_number(*value)) fail(key, "a number");
  return value->get<double>();
}

double JsonFields::number(const std::string& key, double otherwise) const { return has(key) ? number(key) : otherwise; }

bool JsonFields::boolean(const std::string& key) const {
  const Json* value = find(key);
  if (value == nullptr || !value->is_boolean()) fail(key, "true or false");
  return value->get<bool>();
}

bool JsonFields::boolean(const std::string& key, bool otherwise) const { return has(key) ? boolean(key) : otherwise; }

std::string JsonFields::text(const std::string& key) const {
  const Json* value = find(key);
  if (value == nullptr || !value->is_string()) fail(key, "a string");
  return value->get<std::string>();
}

std::string JsonFields::text(const std::string& key, const std::string& otherwise) const {
  return has(key) ? text(key) : otherwise;
}

std::vector<double> JsonFields::numbers(const std::string& key) const {
  std::vector<double> result;
  const Json* value = find(key);
  if (value == nullptr) return result;
  if (!value->is_array()) fail(key, "a list of numbers");
  for (const Json& item : *value) {
    if (!is_finite_number(item)) fail(key, "a list of numbers");
    result.push_back(item.get<double>());
  }
  return result;
}

std::vector<std::string> JsonFields::texts(const std::string& key) const {
  std::vector<std::string> result;
  const Json* value = find(key);
  if (value == nullptr) return result;
  if (!value->is_array()) fail(key, "a list of strings");
  for (const Json& item : *value) {
    if (!item.is_string()) fail(key, "a list of strings");
    result.push_back(item.get<std::string>());
  }
  return result;
}

std::vector<int64_t> JsonFields::integers(const std::string& key) const {
  std::vector<int64_t> result;
  const Json* value = find(key);
  if (value == nullptr) return result;
  if (!value->is_array()) return {integer(key)};
  for (const Json& item : *value) {
    if (!item.is_number_integer()) fail(key, "a whole number or a list of them");
    result.push_back(item.get<int64_t>());
  }
  return result;
}

std::optional<JsonFields> JsonFields::object(const std::string& key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) fail(key, "an object");
  return JsonFields(*value, where_ + ": " + key);
}

Json read_json(const std::filesystem::path& path) {
  try {
    return base::parse_python_json<Json>(base::read_file(path));
  } catch (const Json::exception& error) {
    base::fail("{}: not valid JSON: {}", path.string(), base::printable(error.what()));
  }
}

}  // namespace incontext::models
