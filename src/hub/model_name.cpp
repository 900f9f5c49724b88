#include "hub/model_name.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/text.h"

namespace incontext::hub {
namespace {

// The hub's own rules for the two halves of a repository's name.
bool is_name_part(std::string_view part) {
  constexpr size_t kLongest = 96;
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  };
  if (part.empty() || part.size() > kLongest || !std::all_of(part.begin(), part.end(), allowed)) return false;
  const auto at_border = [](char c) { return c == '-' || c == '.'; };
  // "--" stands for the slash in the cache's folder names.
  return !at_border(part.front()) && !at_border(part.back()) && part.find("--") == std::string_view::npos &&
         part.find("..") == std::string_view::npos;
}

}  // namespace

std::string ModelName::text() const { return revision == "main" ? repository : repository + "@" + revision; }

std::optional<ModelName> parse_model_name(std::string_view text) {
  const size_t at = text.find('@');
  ModelName name;
  name.repository = text.substr(0, at);
  if (at != std::string_view::npos) name.revision = text.substr(at + 1);
  const std::vector<std::string> parts = base::split(name.repository, '/');
  if (parts.size() > 2 || !std::all_of(parts.begin(), parts.end(), is_name_part)) return std::nullopt;
  if (!is_safe_relative(name.revision)) return std::nullopt;
  return name;
}

bool is_safe_relative(std::string_view name) {
  constexpr size_t kLongest = 255;
  const auto strange = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\'; };
  if (std::any_of(name.begin(), name.end(), strange)) return false;
  const std::vector<std::string> parts = base::split(name, '/');
  return std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
    return !part.empty() && part != "." && part != ".." && part.size() <= kLongest;
  });
}

bool is_commit(std::string_view text) {
  constexpr size_t kDigits = 40;
  return text.size() == kDigits &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace incontext::hub
