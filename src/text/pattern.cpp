#include "text/pattern.h"

#include "base/error.h"
#include "text/components.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

// The literal text of the pattern, or nothing when it is a regular expression.
std::optional<std::string> literal_of(const JsonField& field) {
  if (field.value().is_string()) return field.text();
  const auto literal = field.find("String");
  if (!literal) return std::nullopt;
  return literal->text();
}

std::string source_of(const JsonField& field) {
  const auto literal = literal_of(field);
  if (!literal) return field.text("Regex");
  // Nothing to look for is never found.
  return literal->empty() ? "(?!)" : Regex::escape(*literal);
}

}  // namespace

Pattern::Pattern(const JsonField& field) : regex_(source_of(field), field.where()) {
  const auto literal = literal_of(field);
  single_character_ = literal && count_code_points(*literal) <= 1;
}

std::string Pattern::replace_all(std::string_view text, std::string_view content) const {
  const std::vector<Range> matches = find_all(text);
  check_growth(text.size(), matches.size() * content.size());
  std::string out;
  size_t end = 0;
  for (const Range& match : matches) {
    out += text.substr(end, match.begin - end);
    out += content;
    end = match.end;
  }
  out += text.substr(end);
  return out;
}

}  // namespace incontext::text
