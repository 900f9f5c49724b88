#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace incontext::text {

/// A piece of a text, [begin, end) in bytes.
struct Range {
  size_t begin = 0;
  size_t end = 0;
};

/// A regular expression as tokenizer files write them (the syntax of Oniguruma's Ruby mode), over UTF-8. Compiled once;
/// find_all() may be called by several threads.
class Regex {
 public:
  /// A mistake in the pattern, or syntax that means something else here, is an Error that begins with `where`.
  Regex(std::string_view pattern, const std::string& where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// All matches from left to right, none overlapping. An empty match directly after a match does not count. `text`
  /// must be valid UTF-8. Needing more steps or memory than a text of this length should is an Error.
  std::vector<Range> find_all(std::string_view text) const;

  /// Quotes the text so that it matches only itself.
  static std::string escape(std::string_view text);

 private:
  struct Compiled;
  std::unique_ptr<const Compiled> compiled_;
};

/// The pattern in PCRE2's syntax, with the same meaning: \s, \w, \d and \h by Unicode's properties. What cannot be said
/// there (nested and intersected classes, a repeated interval) is an Error that begins with `where`.
std::string to_pcre(std::string_view pattern, const std::string& where);

}  // namespace incontext::text
