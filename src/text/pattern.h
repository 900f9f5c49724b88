#pragma once

#include <string_view>
#include <vector>

#include "text/json_field.h"
#include "text/regex.h"

namespace incontext::text {

/// What a tokenizer.json looks for in a text: {"String": ...}, {"Regex": ...}, or plainly a string.
class Pattern {
 public:
  explicit Pattern(const JsonField& field);

  /// All matches from left to right, none overlapping.
  std::vector<Range> find_all(std::string_view text) const { return regex_.find_all(text); }

  /// The text with every match replaced by `content` as it stands.
  std::string replace_all(std::string_view text, std::string_view content) const;

  /// Whether matching one piece of a text after another finds the same as matching the whole: true of a single
  /// character.
  bool is_single_character() const { return single_character_; }

 private:
  Regex regex_;
  bool single_character_ = false;
};

}  // namespace incontext::text
