#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/config_node.h"

namespace incontext::models {

/// Reads fields of a JSON object that others wrote: absent and null are the same, a value of another type is an Error
/// that names the file and the field.
class JsonFields {
 public:
  /// `json` must outlive this object; anything but an object is an Error.
  JsonFields(const base::Json& json, std::string where);

  const base::Json& json() const { return *json_; }
  bool has(const std::string& key) const;
  int64_t integer(const std::string& key) const;
  int64_t integer(const std::string& key, int64_t otherwise) const;
  double number(const std::string& key) const;
  double number(const std::string& key, double otherwise) const;
  bool boolean(const std::string& key) const;
  bool boolean(const std::string& key, bool otherwise) const;
  std::string text(const std::string& key) const;
  std::string text(const std::string& key, const std::string& otherwise) const;
  std::vector<double> numbers(const std::string& key) const;
  std::vector<std::string> texts(const std::string& key) const;
  /// A number or a list of them; absent: none.
  std::vector<int64_t> integers(const std::string& key) const;
  /// An object within; absent: empty.
  std::optional<JsonFields> object(const std::string& key) const;
  const std::string& where() const { return where_; }

 private:
  [[noreturn]] void fail(const std::string& key, const char* expected) const;
  const base::Json* find(const std::string& key) const;

  const base::Json* json_;
  std::string where_;
};

/// Parses a JSON file, which may hold NaN and Infinity as Python writes them; what is not JSON is an Error that names
/// it.
base::Json read_json(const std::filesystem::path& path);

}  // namespace incontext::models
