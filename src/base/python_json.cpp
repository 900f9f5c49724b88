#include "base/python_json.h"

#include <array>
#include <limits>

namespace incontext::base::detail {
namespace {

constexpr std::array<std::string_view, 3> kWords = {"NaN", "Infinity", "-Infinity"};
// As JSON writes a zero byte: no text of a file begins with it by chance.
constexpr std::string_view kMark = "\\u0000";

}  // namespace

std::optional<std::string> quote_constants(std::string_view text) {
  std::string result;
  size_t copied = 0;
  bool in_string = false;
  for (size_t at = 0; at < text.size(); ++at) {
    if (in_string) {
      if (text[at] == '\\') {
        ++at;  // and what it escapes
      } else {
        in_string = text[at] != '"';
      }
      continue;
    }
    in_string = text[at] == '"';
    for (const std::string_view word : kWords) {
      if (text[at] != word[0] || text.substr(at, word.size()) != word) continue;
      result.append(text.substr(copied, at - copied)).append("\"").append(kMark).append(word).append("\"");
      copied = at + word.size();
      at = copied - 1;
      break;
    }
  }
  if (copied == 0) return std::nullopt;
  return result.append(text.substr(copied));
}

std::optional<double> constant_of(const std::string& text) {
  if (text.empty() || text[0] != '\0') return std::nullopt;
  const std::string_view word = std::string_view(text).substr(1);
  if (word == kWords[0]) return std::numeric_limits<double>::quiet_NaN();
  if (word == kWords[1]) return std::numeric_limits<double>::infinity();
  if (word == kWords[2]) return -std::numeric_limits<double>::infinity();
  return std::nullopt;
}

}  // namespace incontext::base::detail
