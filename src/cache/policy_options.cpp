#include "cache/policy_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace incontext::cache {
namespace {

template <class Number>
bool read_number(const std::string& text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

void PolicyOptions::fail(const std::string& problem) const {
  base::fail("cache policy '{}': {}", policy_.text(), problem);
}

const std::string* PolicyOptions::find(const std::string& name) {
  names_.push_back(name);
  const auto found = policy_.values.find(name);
  return found == policy_.values.end() ? nullptr : &found->second;
}

int64_t PolicyOptions::integer(const std::string& name, int64_t otherwise, int64_t least, int64_t most) {
  const std::string* text = find(name);
  if (text == nullptr) return otherwise;
  int64_t value = 0;
  if (!read_number(*text, value) || value < least || value > most) {
    fail(fmt::format("{}: expected a whole number from {} to {}, got '{}'", name, least, most, *text));
  }
  return value;
}

double PolicyOptions::number(const std::string& name, double otherwise, double least, double most) {
  const std::string* text = find(name);
  if (text == nullptr) return otherwise;
  double value = 0;
  if (!read_number(*text, value) || !(value >= least && value <= most)) {
    fail(fmt::format("{}: expected a number from {} to {}, got '{}'", name, least, most, *text));
  }
  return value;
}

std::string PolicyOptions::text(const std::string& name, const std::string& otherwise) {
  const std::string* text = find(name);
  return text == nullptr ? otherwise : *text;
}

std::string PolicyOptions::choice(const std::string& name, const std::vector<std::string>& words) {
  const std::string* text = find(name);
  if (text == nullptr) return words.front();
  if (std::find(words.begin(), words.end(), *text) == words.end()) {
    fail(fmt::format("{}: expected {}, got '{}'", name, fmt::join(words, " or "), *text));
  }
  return *text;
}

void PolicyOptions::finish() const {
  std::vector<std::string> known;
  for (const std::string& name : names_) known.push_back(name + "=");
  const auto refuse = [&](const std::string& name) {
    fail(fmt::format("unknown option '{}'; {} has {}", name, policy_.kind,
                     known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", "))));
  };
  if (!policy_.words.empty()) refuse(policy_.words.front());
  for (const auto& [name, value] : policy_.values) {
    if (std::find(names_.begin(), names_.end(), name) == names_.end()) refuse(name);
  }
}

std::string policy_text(const std::string& kind, std::vector<std::string> options) {
  std::sort(options.begin(), options.end());
  return options.empty() ? kind : fmt::format("{}:{}", kind, fmt::join(options, ","));
}

}  // namespace incontext::cache
