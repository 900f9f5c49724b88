#include "text/json_field.h"

#include "base/error.h"
#include "base/file.h"
#include "base/python_json.h"
#include "base/text.h"

namespace incontext::text {

using base::fail;

JsonField JsonField::at(const std::string& key) const {
  if (!value_->is_object()) fail_expecting("an object");
  const auto found = value_->find(key);
  if (found == value_->end()) fail("{}: '{}' is missing", where_, key);
  return {*found, where_ + "." + key};
}

std::optional<JsonField> JsonField::find(const std::string& key) const {
  if (!value_->is_object()) fail_expecting("an object");
  const auto found = value_->find(key);
  if (found == value_->end() || found->is_null()) return std::nullopt;
  return JsonField(*found, where_ + "." + key);
}

std::vector<JsonField> JsonField::items() const {
  if (!value_->is_array()) fail_expecting("a list");
  std::vector<JsonField> out;
  out.reserve(value_->size());
  for (const SortedJson& item : *value_) out.emplace_back(item, fmt::format("{}[{}]", where_, out.size()));
  return out;
}

std::string JsonField::text() const {
  if (!value_->is_string()) fail_expecting("a string");
  return value_->get<std::string>();
}

bool JsonField::flag() const {
  if (!value_->is_boolean()) fail_expecting("true or false");
  return value_->get<bool>();
}

int64_t JsonField::integer() const {
  if (!value_->is_number_integer()) fail_expecting("an integer");
  if (value_->is_number_unsigned() && value_->get<uint64_t>() > INT64_MAX) fail_expecting("a smaller integer");
  return value_->get<int64_t>();
}

int64_t JsonField::token_id() const {
  const int64_t id = integer();
  if (id < 0 || id >= INT32_MAX) fail_expecting(fmt::format("an id from 0 to {}", INT32_MAX - 1));
  return id;
}

std::string JsonField::text_or(const std::string& key, const std::string& fallback) const {
  const auto found = find(key);
  return found ? found->text() : fallback;
}

bool JsonField::flag_or(const std::string& key, bool fallback) const {
  const auto found = find(key);
  return found ? found->flag() : fallback;
}

int64_t JsonField::integer_or(const std::string& key, int64_t fallback) const {
  const auto found = find(key);
  return found ? found->integer() : fallback;
}

void JsonField::fail_expecting(std::string_view expected) const {
  // The beginning is enough, and writing out a whole vocabulary is not.
  const std::string shown = value_->is_structured() ? fmt::format("a {} of {}", value_->type_name(), value_->size())
                                                    : base::clip(base::printable(value_->dump()), 60);
  fail("{}: expected {}, got {}", where_, expected, shown);
}

SortedJson read_json(const std::filesystem::path& path) {
  const std::string contents = base::read_file(path);
  try {
    return base::parse_python_json<SortedJson>(contents);
  } catch (const SortedJson::parse_error& error) {
    fail("{}: is not valid JSON: near byte {}", path.string(), error.byte);
  } catch (const SortedJson::out_of_range&) {
    fail("{}: holds a number that is too large", path.string());
  }
}

}  // namespace incontext::text
