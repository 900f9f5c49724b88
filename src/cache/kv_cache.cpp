#include "cache/kv_cache.h"

#include <algorithm>

#include "base/error.h"
#include "cache/kind.h"

namespace incontext::cache {

KvCache::KvCache(std::shared_ptr<const CacheKind> kind, const CacheShape& shape)
    : kind_(std::move(kind)), shape_(shape), lengths_(static_cast<size_t>(shape.layers), 0) {}

std::string KvCache::policy() const { return kind_->policy(); }

void KvCache::append(int64_t layer, const Rows& keys, const Rows& values, int64_t count) {
  int64_t& length = lengths_[static_cast<size_t>(layer)];
  base::check(length + count <= shape_.capacity, "the cache has room for {} tokens; it holds {}, and {} more came",
              shape_.capacity, length, count);
  store(layer, keys, values, length, count);
  length += count;
}

void KvCache::truncate(int64_t length) {
  base::check(length >= 0, "[truncate] expected a length of at least 0, got {}", length);
  if (std::all_of(lengths_.begin(), lengths_.end(), [&](int64_t held) { return held <= length; })) return;
  base::check(length == 0 || can_truncate(), "[truncate] a cache of '{}' cannot be cut to {} tokens", policy(), length);
  for (int64_t& held : lengths_) held = std::min(held, length);
  forget(length);
}

void attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores) {
  // Sequences of a kind, in the order in which they came.
  std::vector<std::pair<const CacheKind*, std::vector<Attending>>> groups;
  for (const Attending& each : sequences) {
    const CacheKind* kind = &each.cache->kind();
    const auto known =
        std::find_if(groups.begin(), groups.end(), [&](const auto& group) { return group.first == kind; });
    if (known == groups.end()) {
      groups.push_back({kind, {each}});
    } else {
      known->second.push_back(each);
    }
  }
  for (const auto& [kind, group] : groups) kind->attend(layer, group, scores);
}

}  // namespace incontext::cache
