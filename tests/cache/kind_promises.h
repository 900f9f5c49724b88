#pragma once

#include <memory>
#include <vector>

#include "cache/kind.h"

namespace incontext::cache {

/// One fixed random sequence through a cache, for tests of what every kind promises.
class DrivenCache {
 public:
  /// `factor` scales keys, so that softmax is not flat.
  DrivenCache(std::shared_ptr<const CacheKind> kind, const CacheShape& shape, Scores scores = {.scale = 0.3F});

  /// The next `count` tokens in one step: appended to every layer and attended to. Returns [count, layers, heads,
  /// head_dim].
  std::vector<float> step(int64_t count);
  /// A prompt of `length` tokens in steps of at most `part`, end_of_prompt() included; what its steps returned.
  std::vector<float> read_prompt(int64_t length, int64_t part);
  /// `count` tokens in steps of `part`.
  std::vector<float> decode(int64_t count, int64_t part);

  KvCache& cache() { return *cache_; }
  /// Goes on with a cache that holds the same tokens.
  void take(std::unique_ptr<KvCache> cache) { cache_ = std::move(cache); }

 private:
  CacheShape shape_;
  Scores scores_;
  std::unique_ptr<KvCache> cache_;
};

/// Whether bytes(shape) says what a full cache holds, or how much that is depends on the length of the prompt.
enum class Filling { even, by_prompt };

/// Checks of a kind, each a few EXPECTs: as long as nothing is compressed it has the bits of the full cache; bits
/// depend neither on the parts of the prompt nor on how many tokens a later step has; copies and saved caches go on
/// with the same bits; attention of several sequences at once has the bits of each alone; bytes() is what pages and
/// buffers hold, at most bytes(shape), and at most reading_bytes(shape) while the prompt is read.
void check_promises(const std::shared_ptr<const CacheKind>& kind, const CacheShape& shape, int64_t prompt,
                    Filling filling = Filling::even);

}  // namespace incontext::cache
