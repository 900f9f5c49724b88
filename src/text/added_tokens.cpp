#include "text/added_tokens.h"

#include <algorithm>

#include "base/error.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

size_t white_space_at_start(std::string_view text) {
  size_t size = 0;
  while (size < text.size()) {
    const CodePoint c = code_point_at(text, size);
    if (!is_whitespace(c.value)) break;
    size += c.size;
  }
  return size;
}

// Where the white space at the end begins.
size_t white_space_at_end(std::string_view text) {
  size_t begin = text.size();
  while (begin > 0) {
    const CodePoint c = code_point_before(text, begin);
    if (!is_whitespace(c.value)) break;
    begin -= c.size;
  }
  return begin;
}

bool touches_a_word(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && is_word(code_point_before(text, begin).value)) return true;
  return end < text.size() && is_word(code_point_at(text, end).value);
}

}  // namespace

AddedToken read_added_token(const JsonField& field, int64_t id) {
  AddedToken token;
  token.id = id;
  token.content = field.text("content");
  token.single_word = field.flag_or("single_word", false);
  token.left_strip = field.flag_or("lstrip", false);
  token.right_strip = field.flag_or("rstrip", false);
  token.special = field.flag_or("special", false);
  token.normalized = field.flag_or("normalized", !token.special);
  return token;
}

void AddedTokens::add(AddedToken token) {
  if (token.content.empty()) return;
  const auto found = by_content_.find(token.content);
  if (found != by_content_.end()) {
    by_id_.erase(tokens_[found->second].id);
    by_id_[token.id] = found->second;
    tokens_[found->second] = std::move(token);
    return;
  }
  by_content_.emplace(token.content, tokens_.size());
  by_id_[token.id] = tokens_.size();
  tokens_.push_back(std::move(token));
}

void AddedTokens::finish(const Normalizer* normalizer) {
  plain_ = {};
  normalized_ = {};
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (!tokens_[i].normalized) {
      plain_.add(tokens_[i].content, i);
      continue;
    }
    Piece piece{tokens_[i].content, true};
    if (normalizer != nullptr) normalizer->apply(piece);
    normalized_.add(piece.text, i);
  }
  plain_.finish();
  normalized_.finish();
}

void AddedTokens::Index::add(const std::string& text, size_t token) {
  if (text.empty()) return;
  // Of two tokens that read the same the first stays.
  if (!by_text.emplace(text, token).second) return;
  lengths[static_cast<unsigned char>(text.front())].push_back(text.size());
}

void AddedTokens::Index::finish() {
  for (std::vector<size_t>& list : lengths) {
    std::sort(list.begin(), list.end(), std::greater<>());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
}

std::optional<std::pair<size_t, size_t>> AddedTokens::Index::match(std::string_view text, size_t at) const {
  for (const size_t length : lengths[static_cast<unsigned char>(text[at])]) {
    if (length > text.size() - at) continue;
    const auto found = by_text.find(text.substr(at, length));
    if (found != by_text.end()) return std::pair{found->second, length};
  }
  return std::nullopt;
}

void AddedTokens::cut(const Piece& piece, const Index& index, std::vector<Extracted>& out) const {
  const std::string_view text = piece.text;
  const auto push = [&](std::optional<int64_t> id, size_t begin, size_t end) {
    if (begin >= end) return;
    if (id) {
      out.push_back({id, {}});
    } else {
      out.push_back({id, {std::string(text.substr(begin, end - begin)), piece.at_start && begin == 0}});
    }
  };
  size_t done = 0;
  size_t spaces_end = 0;  // of the white space last looked at, lest many tokens go through the same
  for (size_t at = 0; at < text.size();) {
    const auto match = index.match(text, at);
    if (!match) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[match->first];
    size_t begin = at;
    size_t end = at + match->second;
    at = end;
    if (token.single_word && touches_a_word(text, begin, end)) continue;
    if (token.left_strip) begin = begin > done ? done + white_space_at_end(text.substr(done, begin - done)) : done;
    if (token.right_strip) {
      if (end >= spaces_end) spaces_end = end + white_space_at_start(text.substr(end));
      end = spaces_end;
    }
    if (done < begin) push(std::nullopt, done, begin);
    push(token.id, begin, end);
    done = end;
  }
  push(std::nullopt, done, text.size());
}

std::vector<Extracted> AddedTokens::extract(std::string_view text, const Normalizer* normalizer) const {
  std::vector<Extracted> first;
  cut({std::string(text), true}, plain_, first);
  std::vector<Extracted> out;
  for (Extracted& part : first) {
    if (part.id) {
      out.push_back(std::move(part));
      continue;
    }
    if (normalizer != nullptr) normalizer->apply(part.piece);
    cut(part.piece, normalized_, out);
  }
  return out;
}

const AddedToken* AddedTokens::find(int64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(content);
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

}  // namespace incontext::text
