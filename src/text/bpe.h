#pragma once

#include <cstdint>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace incontext::text {

/// Lets string-keyed maps be searched by string_view.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

template <class Value>
using StringMap = std::unordered_map<std::string, Value, StringHash, std::equal_to<>>;

struct BpeOptions {
  std::string unknown_token;              ///< "" when there is none: what the vocabulary lacks is left out
  std::string continuing_subword_prefix;  ///< stands before every character of a word but the first
  std::string end_of_word_suffix;         ///< stands after the last character of a word
  bool fuse_unknown = false;              ///< neighbouring unknown characters become one token
  bool byte_fallback = false;             ///< what the vocabulary lacks becomes bytes <0x00> ... <0xFF>
  bool ignore_merges = false;             ///< a word that is in the vocabulary is that token
};

/// Byte-pair encoding: a word is cut into characters, and of all neighbours that may merge the pair that comes first in
/// the list of merges does, until none may. Takes O(n log n) for a word of n characters. Thread-safe.
class Bpe {
 public:
  using Merges = std::vector<std::pair<std::string, std::string>>;

  /// `where` begins the Errors about the vocabulary: a merge of tokens, or into one, that it lacks; an unknown token
  /// that it lacks.
  Bpe(StringMap<int64_t> vocabulary, const Merges& merges, BpeOptions options, const std::string& where);

  /// Appends the tokens of one word (valid UTF-8).
  void encode(std::string_view word, std::vector<int64_t>& ids) const;

  std::optional<int64_t> id_of(std::string_view token) const;
  const StringMap<int64_t>& vocabulary() const { return vocabulary_; }

 private:
  struct Merge {
    uint32_t rank = 0;
    uint32_t id = 0;
  };

  std::vector<uint32_t> characters_of(std::string_view word) const;
  void merge_all(std::vector<uint32_t>& symbols) const;
  const Merge* merge_of(uint32_t left, uint32_t right) const;

  StringMap<int64_t> vocabulary_;
  std::unordered_map<uint64_t, Merge> merges_;  // key: left id, right id
  BpeOptions options_;
  std::optional<uint32_t> unknown_;

  // Words come again and again; what they became is kept.
  mutable std::shared_mutex cache_mutex_;
  mutable StringMap<std::vector<uint32_t>> cache_;
};

}  // namespace incontext::text
