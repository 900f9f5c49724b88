#include "decode/prefix_store.h"

#include <algorithm>

namespace incontext::decode {
namespace {

bool serves(const cache::SequenceState& state, const std::string& policy, int64_t rope_epoch) {
  return state.cache->policy() == policy && state.rope_epoch == rope_epoch;
}

}  // namespace

std::unique_ptr<cache::SequenceState> copy_prefix(const cache::SequenceState& state, int64_t length, int64_t capacity) {
  auto copy = std::make_unique<cache::SequenceState>();
  copy->tokens.assign(state.tokens.begin(), state.tokens.begin() + length);
  copy->cache = state.cache->copy_prefix(length, capacity);
  copy->rope_epoch = state.rope_epoch;
  return copy;
}

int64_t common_prefix(std::span<const int64_t> a, std::span<const int64_t> b) {
  const size_t shorter = std::min(a.size(), b.size());
  return std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(shorter), b.begin()).first - a.begin();
}

void PrefixStore::drop_oldest() {
  bytes_ -= entries_.back()->cache->bytes();
  entries_.pop_back();
}

void PrefixStore::keep(std::unique_ptr<cache::SequenceState> state) {
  const int64_t bytes = state->cache->bytes();
  if (bytes > limit_) return;
  // A cache that another one contains adds nothing.
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (!serves(**entry, state->cache->policy(), state->rope_epoch.value_or(0))) continue;
    const int64_t same = common_prefix((*entry)->tokens, state->tokens);
    if (same == static_cast<int64_t>(state->tokens.size())) return;
    if (same == static_cast<int64_t>((*entry)->tokens.size())) {
      bytes_ -= (*entry)->cache->bytes();
      entries_.erase(entry);
      break;
    }
  }
  while (bytes_ + bytes > limit_) drop_oldest();
  bytes_ += bytes;
  entries_.push_front(std::move(state));
}

int64_t PrefixStore::longest(std::span<const int64_t> tokens, const std::string& policy, int64_t rope_epoch) const {
  int64_t longest = 0;
  for (const Entry& entry : entries_) {
    if (serves(*entry, policy, rope_epoch)) longest = std::max(longest, common_prefix(entry->tokens, tokens));
  }
  return longest;
}

std::unique_ptr<cache::SequenceState> PrefixStore::copy(std::span<const int64_t> tokens, const std::string& policy,
                                                        int64_t rope_epoch, int64_t length, int64_t capacity) {
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (!serves(**entry, policy, rope_epoch) || common_prefix((*entry)->tokens, tokens) < length) continue;
    std::unique_ptr<cache::SequenceState> state = copy_prefix(**entry, length, capacity);
    entries_.splice(entries_.begin(), entries_, entry);
    return state;
  }
  return nullptr;
}

void PrefixStore::shrink(int64_t bytes) {
  const int64_t target = bytes_ - bytes;
  while (!entries_.empty() && bytes_ > target) drop_oldest();
}

}  // namespace incontext::decode
