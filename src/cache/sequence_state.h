#pragma once

#include <memory>
#include <vector>

#include "cache/kv_cache.h"

namespace incontext::cache {

/// What a model remembers of one sequence.
struct SequenceState {
  std::vector<int64_t> tokens;  // that the cache holds
  std::unique_ptr<KvCache> cache;
};

}  // namespace incontext::cache
