#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/kv_cache.h"
#include "tensor/torch.h"

namespace incontext::cache {

/// What a layer remembers of a sequence beside the KV cache, such as the state of a recurrent mixer: named tensors
/// whose sizes do not depend on the sequence's length. A layer that keeps all it needs in the KV cache has none.
struct LayerState {
  std::map<std::string, torch::Tensor> tensors = {};

  bool empty() const { return tensors.empty(); }
  int64_t bytes() const;
  LayerState copy() const;
};

/// What a model remembers of one sequence. It knows its own position: how many tokens the cache still holds is the
/// cache's business.
struct SequenceState {
  std::vector<int64_t> tokens;          // seen, from the first on
  std::unique_ptr<KvCache> cache;       // of the layers that use it
  std::vector<LayerState> layers = {};  // one for each layer, or none at all
  /// Which set of rotary factors the cached keys were turned with (models/rope_frequencies.h); keys of another set are
  /// those of another model. Empty: the first step decides, by its length.
  std::optional<int64_t> rope_epoch = {};

  /// Of the next token.
  int64_t position() const { return static_cast<int64_t>(tokens.size()); }
  /// Everything that is held.
  int64_t bytes() const;
  /// Whether fork() can cut it to any prefix. What a recurrent layer remembers cannot be cut: it can only be had from a
  /// snapshot, a fork that was made at that length.
  bool can_truncate() const;
  /// KvCache::serves_prompts().
  bool serves_prompts() const { return !cache || cache->serves_prompts(); }
  /// A state of its own that has seen the first `length` tokens and has room for `capacity`. Where the state cannot be
  /// cut, `length` must be position().
  std::unique_ptr<SequenceState> fork(int64_t length, int64_t capacity) const;
};

}  // namespace incontext::cache
