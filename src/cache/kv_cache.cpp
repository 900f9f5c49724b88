#include "cache/kv_cache.h"

#include "base/error.h"
#include "base/text.h"
#include "cache/full_cache.h"

namespace incontext::cache {
namespace {

// "full" is "full:f16": bf16 takes the same bytes and is an eighth as fine.
kernels::Storage full_storage(const CachePolicy& policy) {
  const std::string storage = policy.words.empty() ? "f16" : policy.words[0];
  const bool known = storage == "bf16" || storage == "f16" || storage == "f32";
  base::check(known && policy.words.size() <= 1 && policy.values.empty(),
              "cache policy '{}': expected full, full:f16, full:bf16 or full:f32", policy.text());
  if (storage == "f32") return kernels::Storage::f32;
  return storage == "bf16" ? kernels::Storage::bf16 : kernels::Storage::f16;
}

void check_kind(const CachePolicy& policy) {
  const std::vector<std::string> kinds = {"full"};
  if (policy.kind == "full") return;
  const std::string nearest = base::nearest_name(policy.kind, kinds);
  base::fail("cache policy '{}': unknown kind '{}'{}; known: {}", policy.text(), policy.kind,
             nearest.empty() ? "" : fmt::format(", did you mean '{}'?", nearest), fmt::join(kinds, ", "));
}

}  // namespace

void KvCache::append(int64_t layer, const Rows& keys, const Rows& values, int64_t count) {
  int64_t& length = lengths_[static_cast<size_t>(layer)];
  base::check(length + count <= shape_.capacity, "the cache has room for {} tokens; it holds {}, and {} more came",
              shape_.capacity, length, count);
  store(layer, keys, values, length, count);
  length += count;
}

void KvCache::truncate(int64_t length) {
  base::check(length >= 0, "[truncate] expected a length of at least 0, got {}", length);
  bool shorter = false;
  for (int64_t& held : lengths_) {
    shorter = shorter || held > length;
    held = std::min(held, length);
  }
  if (shorter) forget(length);
}

std::unique_ptr<KvCache> make_cache(const CachePolicy& policy, const CacheShape& shape) {
  check_kind(policy);
  return std::make_unique<FullCache>(shape, full_storage(policy));
}

int64_t full_bytes(const CachePolicy& policy, const CacheShape& shape) {
  check_kind(policy);
  return FullCache::full_bytes(shape, full_storage(policy));
}

}  // namespace incontext::cache
