#include "base/spec.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace incontext::base {
namespace {

bool is_name(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.' || c == '/';
  });
}

}  // namespace

Spec parse_spec(const std::string& text, const std::string& what, const std::string& example) {
  Spec spec;
  const size_t colon = text.find(':');
  spec.kind = text.substr(0, colon);
  check(is_name(spec.kind), "{} '{}': expected KIND or KIND:OPTION,NAME=VALUE, for example {}", what, text, example);
  if (colon == std::string::npos) return spec;
  for (const std::string& option : split(text.substr(colon + 1), ',')) {
    const size_t equals = option.find('=');
    const std::string name = option.substr(0, equals);
    check(is_name(name), "{} '{}': expected OPTION or NAME=VALUE after the colon, got '{}'", what, text, option);
    if (equals == std::string::npos) {
      spec.words.push_back(name);
      continue;
    }
    check(spec.values.emplace(name, option.substr(equals + 1)).second, "{} '{}': '{}' is given twice", what, text,
          name);
  }
  return spec;
}

std::string Spec::text() const {
  std::vector<std::string> options = words;
  for (const auto& [name, value] : values) options.push_back(fmt::format("{}={}", name, value));
  return options.empty() ? kind : fmt::format("{}:{}", kind, fmt::join(options, ","));
}

}  // namespace incontext::base
