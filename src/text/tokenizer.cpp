#include "text/tokenizer.h"

#include <algorithm>

#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace incontext::text {

void TokenizerParts::finish_added_tokens() {
  for (const AddedToken& token : added.all()) tokens[token.id] = token.content;
  added.finish(normalizer.get());
}

Tokenizer::Tokenizer(std::unique_ptr<const TokenizerParts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

std::vector<int64_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  std::vector<int64_t> ids;
  if (add_special_tokens) ids = parts_->surrounding.before;
  const std::string valid = is_valid_utf8(text) ? std::string(text) : to_valid_utf8(text);
  for (Extracted& part : parts_->added.extract(valid, parts_->normalizer.get())) {
    if (part.id) {
      ids.push_back(*part.id);
      continue;
    }
    if (!parts_->pre_tokenizer) {
      parts_->model->encode(part.piece, ids);
      continue;
    }
    std::vector<Piece> words;
    parts_->pre_tokenizer->cut(std::move(part.piece), words);
    for (const Piece& word : words) parts_->model->encode(word, ids);
  }
  if (add_special_tokens) {
    ids.insert(ids.end(), parts_->surrounding.after.begin(), parts_->surrounding.after.end());
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const int64_t> ids, bool skip_special_tokens) const {
  DecodeRun run = start_decoding();
  std::string out;
  for (const int64_t id : ids) {
    if (auto token = token_for_decoding(id, skip_special_tokens)) out += run.push(std::move(*token));
  }
  return out + run.finish();
}

std::optional<int64_t> Tokenizer::token_to_id(std::string_view token) const {
  if (const AddedToken* added = parts_->added.find(token)) return added->id;
  return parts_->model->id_of(token);
}

std::optional<std::string> Tokenizer::id_to_token(int64_t id) const {
  const auto found = parts_->tokens.find(id);
  if (found == parts_->tokens.end()) return std::nullopt;
  return found->second;
}

bool Tokenizer::is_special(int64_t id) const {
  const AddedToken* added = parts_->added.find(id);
  return added != nullptr && added->special;
}

int64_t Tokenizer::vocab_size() const {
  int64_t largest = -1;
  for (const auto& [id, token] : parts_->tokens) largest = std::max(largest, id);
  return largest + 1;
}

const SpecialTokens& Tokenizer::special_tokens() const { return parts_->special; }
const std::vector<int64_t>& Tokenizer::prefix() const { return parts_->surrounding.before; }
const std::vector<int64_t>& Tokenizer::suffix() const { return parts_->surrounding.after; }

DecodeRun Tokenizer::start_decoding() const { return parts_->decoder.start(); }

std::optional<std::string> Tokenizer::token_for_decoding(int64_t id, bool skip_special_tokens) const {
  if (skip_special_tokens && is_special(id)) return std::nullopt;
  return id_to_token(id);
}

}  // namespace incontext::text
