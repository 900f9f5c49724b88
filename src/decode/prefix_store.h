#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>

#include "cache/sequence_state.h"

namespace incontext::decode {

/// Length of what two token sequences begin with alike.
int64_t common_prefix(std::span<const int64_t> a, std::span<const int64_t> b);

/// What, beside its tokens, a state depends on: only sequences of the same key can take over each other's.
struct PrefixKey {
  std::string policy;      // of the KV cache
  int64_t rope_epoch = 0;  // models/rope_frequencies.h
  std::string variant;     // GenerationRequest::variant

  friend bool operator==(const PrefixKey&, const PrefixKey&) = default;
};

/// How many of a state's first tokens serve a sequence of `tokens`: all that they share, or, where the state cannot be
/// cut, all of its own or none.
int64_t usable_prefix(const cache::SequenceState& state, std::span<const int64_t> tokens);

/// States of sequences that have ended, and snapshots, for prompts that begin as one of them did. Holds at most `limit`
/// bytes; the ones unused longest go first.
class PrefixStore {
 public:
  explicit PrefixStore(int64_t limit) : limit_(limit) {}

  /// One that is not to serve prompts is only found by find().
  void keep(std::unique_ptr<cache::SequenceState> state, const PrefixKey& key, bool serves = true);
  /// The longest prefix of `tokens` that some state of this key serves; 0: none.
  int64_t longest(std::span<const int64_t> tokens, const PrefixKey& key) const;
  /// A fork of a state at that prefix, of `length` tokens, with room for `capacity`; null where there is none.
  std::unique_ptr<cache::SequenceState> fork(std::span<const int64_t> tokens, const PrefixKey& key, int64_t length,
                                             int64_t capacity);
  /// A state of this policy, and of no variant, that has seen just these tokens, or null.
  const cache::SequenceState* find(std::span<const int64_t> tokens, const std::string& policy) const;
  /// Forgets states until at least `bytes` are freed or none is left.
  void shrink(int64_t bytes);
  int64_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::unique_ptr<cache::SequenceState> state;
    PrefixKey key;
    int64_t bytes = 0;
    bool serves = true;

    int64_t usable(std::span<const int64_t> tokens) const { return serves ? usable_prefix(*state, tokens) : 0; }
  };
  void drop(std::list<Entry>::iterator entry);

  int64_t limit_;
  int64_t bytes_ = 0;
  std::list<Entry> entries_;  // the latest used first
};

}  // namespace incontext::decode
