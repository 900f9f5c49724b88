#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cache/kv_cache.h"

namespace incontext::cache {

/// What a model remembers of one sequence.
struct SequenceState {
  std::vector<int64_t> tokens;  // that the cache holds
  std::unique_ptr<KvCache> cache;
  /// Which set of rotary factors the cached keys were turned with (models/rope_frequencies.h); keys of another set are
  /// those of another model. Empty: the first step decides, by its length.
  std::optional<int64_t> rope_epoch = {};
};

}  // namespace incontext::cache
