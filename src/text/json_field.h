#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace incontext::text {

/// Sorted objects: base::Json keeps the order of keys and searches them one by one, too slow for a vocabulary.
using SortedJson = nlohmann::json;

/// A value of a parsed JSON file together with its place ("tokenizer.json: normalizer"), read field by field. A missing
/// field or one of another type is an Error that names the place. Holds a reference: the parsed file must outlive it.
class JsonField {
 public:
  JsonField(const SortedJson& value, std::string where) : value_(&value), where_(std::move(where)) {}

  const SortedJson& value() const { return *value_; }
  const std::string& where() const { return where_; }

  /// The field `key` of this object; find() gives nothing where it is absent or null.
  JsonField at(const std::string& key) const;
  std::optional<JsonField> find(const std::string& key) const;

  /// The items of this list.
  std::vector<JsonField> items() const;

  std::string text() const;
  bool flag() const;
  int64_t integer() const;
  /// An integer that may be the id of a token: from 0 to what 32 bits hold.
  int64_t token_id() const;

  std::string text(const std::string& key) const { return at(key).text(); }
  std::string text_or(const std::string& key, const std::string& fallback) const;
  bool flag_or(const std::string& key, bool fallback) const;
  int64_t integer_or(const std::string& key, int64_t fallback) const;

  /// Error: "<where>: expected <expected>, got <the value's beginning>".
  [[noreturn]] void fail_expecting(std::string_view expected) const;

 private:
  const SortedJson* value_;
  std::string where_;
};

/// Parses a JSON file. Mistakes are Errors that begin with the path.
SortedJson read_json(const std::filesystem::path& path);

}  // namespace incontext::text
