#include "text/bpe.h"

#include <limits>
#include <mutex>
#include <queue>

#include "base/error.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

using base::check;

constexpr size_t kCachedWords = 20'000;
constexpr size_t kLongestCachedWord = 64;
constexpr size_t kNone = std::numeric_limits<size_t>::max();

uint64_t pair_key(uint32_t left, uint32_t right) { return uint64_t{left} << 32 | right; }

// A pair of neighbours that may merge, as it was when it was found.
struct Candidate {
  uint32_t rank;
  uint32_t id;
  size_t position;
};

// The queue's top is the lowest rank, of equal ones the leftmost.
struct ComesLater {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  }
};

struct Symbol {
  uint32_t id;
  size_t previous;
  size_t next;
  bool alive;
};

}  // namespace

Bpe::Bpe(StringMap<int64_t> vocabulary, const Merges& merges, BpeOptions options, const std::string& where)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
  for (const auto& [token, id] : vocabulary_) {
    check(id >= 0 && id < std::numeric_limits<int32_t>::max(),
          "{}: the id of '{}' is {}, expected a small positive one", where, token, id);
  }
  const auto required = [&](const std::string& token, const std::string& left, const std::string& right) {
    const auto id = id_of(token);
    check(id.has_value(), "{}: the merge '{} {}' needs '{}', which the vocabulary lacks", where, left, right, token);
    return static_cast<uint32_t>(*id);
  };
  const size_t prefix = options_.continuing_subword_prefix.size();
  merges_.reserve(merges.size());
  uint32_t rank = 0;
  for (const auto& [left, right] : merges) {
    const uint32_t left_id = required(left, left, right);
    const uint32_t right_id = required(right, left, right);
    check(right.size() >= prefix, "{}: the merge '{} {}' lacks the prefix '{}'", where, left, right,
          options_.continuing_subword_prefix);
    merges_[pair_key(left_id, right_id)] = {rank++, required(left + right.substr(prefix), left, right)};
  }
  if (!options_.unknown_token.empty()) {
    const auto id = id_of(options_.unknown_token);
    check(id.has_value(), "{}: the unknown token '{}' is not in the vocabulary", where, options_.unknown_token);
    unknown_ = static_cast<uint32_t>(*id);
  }
}

std::optional<int64_t> Bpe::id_of(std::string_view token) const {
  const auto found = vocabulary_.find(token);
  if (found == vocabulary_.end()) return std::nullopt;
  return found->second;
}

const Bpe::Merge* Bpe::merge_of(uint32_t left, uint32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

std::vector<uint32_t> Bpe::characters_of(std::string_view word) const {
  std::vector<uint32_t> out;
  bool pending_unknown = false;
  for (size_t i = 0; i < word.size();) {
    const size_t size = code_point_at(word, i).size;
    std::string character;
    if (i > 0) character += options_.continuing_subword_prefix;
    character += word.substr(i, size);
    i += size;
    if (i >= word.size()) character += options_.end_of_word_suffix;

    if (const auto id = id_of(character)) {
      if (pending_unknown) out.push_back(*unknown_);
      pending_unknown = false;
      out.push_back(static_cast<uint32_t>(*id));
      continue;
    }
    if (options_.byte_fallback) {
      std::vector<uint32_t> bytes;
      for (const char byte : character) {
        const auto id = id_of(fmt::format("<0x{:02X}>", static_cast<unsigned char>(byte)));
        if (id) bytes.push_back(static_cast<uint32_t>(*id));
      }
      if (bytes.size() == character.size()) {
        // An unknown before these bytes comes after them, as in the reference.
        out.insert(out.end(), bytes.begin(), bytes.end());
        continue;
      }
    }
    if (!unknown_) continue;
    if (pending_unknown && !options_.fuse_unknown) out.push_back(*unknown_);
    pending_unknown = true;
  }
  if (pending_unknown) out.push_back(*unknown_);
  return out;
}

void Bpe::merge_all(std::vector<uint32_t>& ids) const {
  std::vector<Symbol> symbols(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    symbols[i] = {ids[i], i == 0 ? kNone : i - 1, i + 1 == ids.size() ? kNone : i + 1, true};
  }
  std::vector<Candidate> found;
  const auto candidate_at = [&](size_t left) -> std::optional<Candidate> {
    const size_t right = symbols[left].next;
    if (right == kNone) return std::nullopt;
    const Merge* merge = merge_of(symbols[left].id, symbols[right].id);
    if (merge == nullptr) return std::nullopt;
    return Candidate{merge->rank, merge->id, left};
  };
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (const auto candidate = candidate_at(i)) found.push_back(*candidate);
  }
  std::priority_queue<Candidate, std::vector<Candidate>, ComesLater> queue(ComesLater{}, std::move(found));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.position];
    if (!left.alive) continue;
    // The neighbours may have changed since the candidate was found.
    const auto now = candidate_at(top.position);
    if (!now || now->id != top.id) continue;
    Symbol& right = symbols[left.next];
    left.id = top.id;
    left.next = right.next;
    right.alive = false;
    if (left.next != kNone) symbols[left.next].previous = top.position;
    if (left.previous != kNone) {
      if (const auto candidate = candidate_at(left.previous)) queue.push(*candidate);
    }
    if (const auto candidate = candidate_at(top.position)) queue.push(*candidate);
  }
  ids.clear();
  for (const Symbol& symbol : symbols) {
    if (symbol.alive) ids.push_back(symbol.id);
  }
}

void Bpe::encode(std::string_view word, std::vector<int64_t>& ids) const {
  if (word.empty()) return;
  if (options_.ignore_merges) {
    if (const auto id = id_of(word)) {
      ids.push_back(*id);
      return;
    }
  }
  const bool cached = word.size() <= kLongestCachedWord;
  if (cached) {
    const std::shared_lock lock(cache_mutex_);
    const auto found = cache_.find(word);
    if (found != cache_.end()) {
      ids.insert(ids.end(), found->second.begin(), found->second.end());
      return;
    }
  }
  std::vector<uint32_t> symbols = characters_of(word);
  merge_all(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
  if (!cached) return;
  const std::unique_lock lock(cache_mutex_);
  if (cache_.size() < kCachedWords) cache_.emplace(word, std::move(symbols));
}

}  // namespace incontext::text
