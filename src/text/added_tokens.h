#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/bpe.h"
#include "text/json_field.h"
#include "text/normalizer.h"

namespace incontext::text {

/// A token that is found in the text before anything else is done to it.
struct AddedToken {
  int64_t id = 0;
  std::string content;
  bool single_word = false;  ///< only where no letter or digit touches it
  bool left_strip = false;   ///< takes the white space before it along
  bool right_strip = false;  ///< takes the white space after it along
  bool normalized = false;   ///< is looked for in the normalized text, not in the text as written
  bool special = false;      ///< left out by decoding without special tokens
};

/// An object with "content" and the flags, as tokenizer.json and tokenizer_config.json write it.
AddedToken read_added_token(const JsonField& field, int64_t id);

/// A piece of a text that is an added token, or (`id` absent) is not. The text of tokens is not kept: it may be as long
/// as the white space around them, of each of many.
struct Extracted {
  std::optional<int64_t> id;
  Piece piece;
};

/// The added tokens of a tokenizer. Finds them as the tokenizers library does: first those that are not normalized,
/// then, in what lies between and is normalized now, the others; leftmost, of several the longest.
class AddedTokens {
 public:
  /// Takes the token in; one with the same content is replaced, its place in the order kept.
  void add(AddedToken token);

  /// Must be called after the last add() and before extract(). `normalizer` may be null.
  void finish(const Normalizer* normalizer);

  std::vector<Extracted> extract(std::string_view text, const Normalizer* normalizer) const;

  const AddedToken* find(int64_t id) const;
  const AddedToken* find(std::string_view content) const;
  const std::vector<AddedToken>& all() const { return tokens_; }

 private:
  // The contents of tokens, ordered for leftmost-longest search.
  struct Index {
    StringMap<size_t> by_text;         // to the position in tokens_
    std::vector<size_t> lengths[256];  // by first byte, longest first
    void add(const std::string& text, size_t token);
    void finish();
    // The position in tokens_ of the longest token that begins at `at`, and its length.
    std::optional<std::pair<size_t, size_t>> match(std::string_view text, size_t at) const;
  };

  void cut(const Piece& piece, const Index& index, std::vector<Extracted>& out) const;

  std::vector<AddedToken> tokens_;
  StringMap<size_t> by_content_;
  std::unordered_map<int64_t, size_t> by_id_;
  Index plain_;
  Index normalized_;
};

}  // namespace incontext::text
