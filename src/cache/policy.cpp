#include "cache/policy.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace incontext::cache {
namespace {

bool is_name(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.' || c == '/';
  });
}

}  // namespace

CachePolicy parse_policy(const std::string& text) {
  CachePolicy policy;
  const size_t colon = text.find(':');
  policy.kind = text.substr(0, colon);
  base::check(is_name(policy.kind), "cache policy '{}': expected KIND or KIND:OPTION,NAME=VALUE, for example full:bf16",
              text);
  if (colon == std::string::npos) return policy;
  for (const std::string& option : base::split(text.substr(colon + 1), ',')) {
    const size_t equals = option.find('=');
    const std::string name = option.substr(0, equals);
    base::check(is_name(name), "cache policy '{}': expected OPTION or NAME=VALUE after the colon, got '{}'", text,
                option);
    if (equals == std::string::npos) {
      policy.words.push_back(name);
      continue;
    }
    base::check(policy.values.emplace(name, option.substr(equals + 1)).second, "cache policy '{}': '{}' is told twice",
                text, name);
  }
  return policy;
}

std::string CachePolicy::text() const {
  std::vector<std::string> options = words;
  for (const auto& [name, value] : values) options.push_back(fmt::format("{}={}", name, value));
  return options.empty() ? kind : fmt::format("{}:{}", kind, fmt::join(options, ","));
}

}  // namespace incontext::cache
