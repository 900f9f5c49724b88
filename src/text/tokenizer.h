#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/decoder.h"

namespace incontext::text {

struct TokenizerParts;

/// The tokens that mean something to whoever drives a model. Absent where no file names them.
struct SpecialTokens {
  std::optional<int64_t> bos;
  std::optional<int64_t> eos;  ///< what ends a text
  std::optional<int64_t> padding;
  std::optional<int64_t> unknown;
  std::vector<int64_t> stops;  ///< every id that ends a generation: of generation_config.json, config.json, and eos
};

/// Text to token ids and back, as Hugging Face folders describe it. Immutable and thread-safe.
class Tokenizer {
 public:
  /// Reads a folder that holds tokenizer.json, or else tokenizer.model (SentencePiece), or else vocab.json and
  /// merges.txt. tokenizer_config.json, special_tokens_map.json, added_tokens.json, generation_config.json and
  /// config.json are read where they exist. A missing, broken or unsupported file is an Error that names it and the
  /// place in it.
  static std::shared_ptr<const Tokenizer> open(const std::filesystem::path& folder);

  explicit Tokenizer(std::unique_ptr<const TokenizerParts> parts);
  ~Tokenizer();

  /// The ids that the tokenizers library gives. `add_special_tokens` puts those around the text that the files ask for
  /// (of most families the beginning-of-text token). Special tokens written in the text become their ids either way.
  /// Bytes that are not UTF-8 count as U+FFFD.
  std::vector<int64_t> encode(std::string_view text, bool add_special_tokens = true) const;

  /// The text of the ids, valid UTF-8. Ids without a token are passed over. Nothing is tidied afterwards
  /// (clean_up_tokenization_spaces is ignored): spaces stay as the model wrote them.
  std::string decode(std::span<const int64_t> ids, bool skip_special_tokens = false) const;

  std::optional<int64_t> token_to_id(std::string_view token) const;
  /// The token as it is written in the vocabulary ("Ġthe"), not as text.
  std::optional<std::string> id_to_token(int64_t id) const;
  bool is_special(int64_t id) const;

  /// One more than the largest id. A model may have more rows than that (padding), which no token belongs to.
  int64_t vocab_size() const;

  const SpecialTokens& special_tokens() const;
  /// What encode() puts before and after a text.
  const std::vector<int64_t>& prefix() const;
  const std::vector<int64_t>& suffix() const;

  /// For decoding one token after another, see StreamDecoder: the run, and the token to push for an id (nothing when
  /// there is none, or it is special and to be skipped).
  DecodeRun start_decoding() const;
  std::optional<std::string> token_for_decoding(int64_t id, bool skip_special_tokens) const;

 private:
  std::unique_ptr<const TokenizerParts> parts_;
};

}  // namespace incontext::text
