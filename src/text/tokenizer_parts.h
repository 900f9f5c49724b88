#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/json_field.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace incontext::text {

/// What turns one word into tokens: our BPE or the SentencePiece library.
class WordModel {
 public:
  virtual ~WordModel() = default;
  virtual void encode(const Piece& word, std::vector<int64_t>& ids) const = 0;
  virtual std::optional<int64_t> id_of(std::string_view token) const = 0;
};

class BpeModel : public WordModel {
 public:
  explicit BpeModel(std::unique_ptr<const Bpe> bpe) : bpe_(std::move(bpe)) {}
  void encode(const Piece& word, std::vector<int64_t>& ids) const override { bpe_->encode(word.text, ids); }
  std::optional<int64_t> id_of(std::string_view token) const override { return bpe_->id_of(token); }

 private:
  std::unique_ptr<const Bpe> bpe_;
};

/// Everything a tokenizer is made of; each of the three kinds of files fills it in its own way.
struct TokenizerParts {
  std::unique_ptr<const Normalizer> normalizer;       // may be null
  std::unique_ptr<const PreTokenizer> pre_tokenizer;  // may be null: the whole text is one word
  std::unique_ptr<const WordModel> model;
  AddedTokens added;
  Surrounding surrounding;
  Decoder decoder;
  std::unordered_map<int64_t, std::string> tokens;  // of the model and added, by id
  SpecialTokens special;

  /// After the last added token: makes them known to `tokens`, and ready to be looked for in a text.
  void finish_added_tokens();
};

/// The three kinds of files. They set all but `special` and what tokenizer_config.json changes.
void read_tokenizer_json(const SortedJson& json, const std::string& where, TokenizerParts& parts);
void read_sentencepiece(const std::filesystem::path& path, bool space_after_special, TokenizerParts& parts);
void read_vocabulary_and_merges(const std::filesystem::path& folder, bool add_prefix_space, TokenizerParts& parts);

}  // namespace incontext::text
