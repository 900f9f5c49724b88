#include "decode/prefix_store.h"

#include <algorithm>

namespace incontext::decode {

int64_t common_prefix(std::span<const int64_t> a, std::span<const int64_t> b) {
  const size_t shorter = std::min(a.size(), b.size());
  return std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(shorter), b.begin()).first - a.begin();
}

int64_t usable_prefix(const cache::SequenceState& state, std::span<const int64_t> tokens) {
  const int64_t same = common_prefix(state.tokens, tokens);
  return same == state.position() || state.can_truncate() ? same : 0;
}

void PrefixStore::drop(std::list<Entry>::iterator entry) {
  bytes_ -= entry->bytes;
  entries_.erase(entry);
}

void PrefixStore::keep(std::unique_ptr<cache::SequenceState> state, const PrefixKey& key, bool serves) {
  const int64_t bytes = state->bytes();
  if (bytes > limit_) return;
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto known = entry++;
    if (known->key != key) continue;
    // A state adds nothing where another one serves all its tokens.
    if (serves && known->usable(state->tokens) == state->position()) return;
    // One that cannot be cut stays useful beside those that went on from it.
    if (serves && state->can_truncate() &&
        common_prefix(known->state->tokens, state->tokens) == known->state->position()) {
      drop(known);
    }
  }
  while (bytes_ + bytes > limit_) drop(std::prev(entries_.end()));
  bytes_ += bytes;
  entries_.push_front({std::move(state), key, bytes, serves});
}

int64_t PrefixStore::longest(std::span<const int64_t> tokens, const PrefixKey& key) const {
  int64_t longest = 0;
  for (const Entry& entry : entries_) {
    if (entry.key == key) longest = std::max(longest, entry.usable(tokens));
  }
  return longest;
}

std::unique_ptr<cache::SequenceState> PrefixStore::fork(std::span<const int64_t> tokens, const PrefixKey& key,
                                                        int64_t length, int64_t capacity) {
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->key != key || entry->usable(tokens) < length) continue;
    if (!entry->state->can_truncate() && entry->state->position() != length) continue;
    std::unique_ptr<cache::SequenceState> state = entry->state->fork(length, capacity);
    entries_.splice(entries_.begin(), entries_, entry);
    return state;
  }
  return nullptr;
}

const cache::SequenceState* PrefixStore::find(std::span<const int64_t> tokens, const std::string& policy) const {
  for (const Entry& entry : entries_) {
    const std::vector<int64_t>& seen = entry.state->tokens;
    if (entry.key.policy == policy && entry.key.variant.empty() &&
        std::equal(tokens.begin(), tokens.end(), seen.begin(), seen.end())) {
      return entry.state.get();
    }
  }
  return nullptr;
}

void PrefixStore::shrink(int64_t bytes) {
  const int64_t target = bytes_ - bytes;
  while (!entries_.empty() && bytes_ > target) drop(std::prev(entries_.end()));
}

}  // namespace incontext::decode
