#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>

#include "cache/sequence_state.h"

namespace incontext::decode {

/// A copy of the cache of a sequence's first `length` tokens, with room for `capacity`.
std::unique_ptr<cache::SequenceState> copy_prefix(const cache::SequenceState& state, int64_t length, int64_t capacity);

/// Length of what two token sequences begin with alike.
int64_t common_prefix(std::span<const int64_t> a, std::span<const int64_t> b);

/// Caches of sequences that have ended, for prompts that begin as one of them did. Holds at most `limit` bytes; the
/// ones unused longest go first.
class PrefixStore {
 public:
  explicit PrefixStore(int64_t limit) : limit_(limit) {}

  void keep(std::unique_ptr<cache::SequenceState> state);
  /// The longest prefix of `tokens` that some cache of this policy and rope epoch holds; 0: none.
  int64_t longest(std::span<const int64_t> tokens, const std::string& policy, int64_t rope_epoch) const;
  /// A copy of the cache of that prefix, cut to `length`, with room for `capacity`.
  std::unique_ptr<cache::SequenceState> copy(std::span<const int64_t> tokens, const std::string& policy,
                                             int64_t rope_epoch, int64_t length, int64_t capacity);
  /// Forgets caches until at least `bytes` are freed or none is left.
  void shrink(int64_t bytes);
  int64_t bytes() const { return bytes_; }

 private:
  using Entry = std::unique_ptr<cache::SequenceState>;
  void drop_oldest();

  int64_t limit_;
  int64_t bytes_ = 0;
  std::list<Entry> entries_;  // the latest used first
};

}  // namespace incontext::decode
