#include <algorithm>

#include "text/template_functions.h"

namespace incontext::text {

std::optional<Value> Arguments::take_named(const std::string& name) {
  const auto found = std::find_if(named_.begin(), named_.end(), [&](const auto& one) { return one.first == name; });
  if (found == named_.end()) return std::nullopt;
  Value value = std::move(found->second);
  named_.erase(found);
  return value;
}

std::optional<Value> Arguments::take(const std::string& name) {
  if (next_ < places_.size()) return places_[next_++];
  return take_named(name);
}

Value Arguments::require(const std::string& name) {
  auto value = take(name);
  template_check(value.has_value(), "{}: the argument '{}' is missing", function_, name);
  return std::move(*value);
}

std::string Arguments::text(const std::string& name) {
  const Value value = require(name);
  template_check(value.is_string(), "{}: expected a text for '{}', got {}", function_, name, value.type_name());
  return *value.string();
}

std::string Arguments::text_or(const std::string& name, std::string fallback) {
  const auto value = take(name);
  if (!value) return fallback;
  template_check(value->is_string(), "{}: expected a text for '{}', got {}", function_, name, value->type_name());
  return *value->string();
}

std::optional<std::string> Arguments::text_or_none(const std::string& name) {
  const auto value = take(name);
  if (!value || value->is_none()) return std::nullopt;
  template_check(value->is_string(), "{}: expected a text for '{}', got {}", function_, name, value->type_name());
  return *value->string();
}

int64_t Arguments::integer_or(const std::string& name, int64_t fallback) {
  const auto value = take(name);
  return value ? integer_of(*value, function_ + ": " + name) : fallback;
}

bool Arguments::flag_or(const std::string& name, bool fallback) {
  const auto value = take(name);
  return value ? value->truth() : fallback;
}

std::vector<Value> Arguments::rest() {
  std::vector<Value> out(places_.begin() + static_cast<std::ptrdiff_t>(next_), places_.end());
  next_ = places_.size();
  return out;
}

std::vector<std::pair<std::string, Value>> Arguments::rest_named() { return std::exchange(named_, {}); }

size_t Arguments::weight() const {
  size_t sum = 0;
  for (const Value& value : places_) sum += value.weight();
  for (const auto& [name, value] : named_) sum += value.weight();
  return sum;
}

void Arguments::finish() const {
  template_check(next_ == places_.size(), "{}: takes {} arguments, got {}", function_, next_, places_.size());
  template_check(named_.empty(), "{}: has no argument '{}'", function_, named_.empty() ? "" : named_.front().first);
}

}  // namespace incontext::text
