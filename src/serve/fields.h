#pragma once

#include <optional>
#include <string>

#include "base/config_node.h"
#include "base/option_values.h"

namespace incontext::serve {

/// Objects of ordered keys are searched from their beginning, which takes its time with more.
inline constexpr int64_t kMostKeys = 20000;

/// Refuses JSON text that nests too deeply or has more than `most_keys` keys, of the kMostKeys of a request; returns
/// how many it has. `what` stands for it in messages.
int64_t check_limits(const std::string& text, const std::string& field, const std::string& what, int64_t most_keys);

/// Parses the body of a request: one JSON object, nested and large within reason, its integers exact (exact_json.h).
base::Json parse_body(const std::string& text);

/// Reads the fields of a request. Absent and null fields keep the value they have; a wrong type or a value out of range
/// is a RequestError that names the field. A visitor of option structs as well.
class Fields {
 public:
  explicit Fields(const base::Json& json, std::string prefix = "") : json_(json), prefix_(std::move(prefix)) {}

  /// The value, or nothing where it is absent or null.
  const base::Json* find(const std::string& name) const;
  std::string path(const std::string& name) const { return prefix_ + name; }

  void read(const std::string& name, bool& value) const;
  void read(const std::string& name, std::string& value) const;
  void read(const std::string& name, int64_t& value, const base::Allowed& allowed = {}) const;
  void read(const std::string& name, uint64_t& value, const base::Allowed& allowed = {}) const;
  void read(const std::string& name, double& value, const base::Allowed& allowed = {}) const;

  template <class T>
  void field(const char* name, T& value, const char* /*help*/, const base::Allowed& allowed = {}) {
    read(name, value, allowed);
  }

 private:
  const base::Json& json_;
  std::string prefix_;
};

/// A list of token ids below `vocabulary`; `name` stands for it in messages.
std::vector<int64_t> token_list(const base::Json& json, const std::string& name, int64_t vocabulary);

/// A value as a message quotes it, cut short.
std::string shown(const base::Json& json);

}  // namespace incontext::serve
