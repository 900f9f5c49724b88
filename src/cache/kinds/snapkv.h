#pragma once

#include "cache/kinds/evicting.h"

namespace incontext::cache {

/// "snapkv" (Li et al. 2024): of a prompt, every KV head keeps the last `window` positions and those to which the
/// queries there attend most, scores averaged over neighbouring positions.
class SnapKvKind : public EvictingKind {
 public:
  SnapKvKind(std::string policy, KeptExact kept, const EvictingBudget& budget, int64_t window, int64_t kernel)
      : EvictingKind(std::move(policy), std::move(kept), budget), window_(window), kernel_(kernel) {}

  int64_t observed() const override { return window_; }
  void score(const EvictingCache& cache, int64_t layer, int64_t kv_head, std::span<float> scores) const override;

 private:
  int64_t window_, kernel_;
};

/// "random": keeps a random choice of a prompt, another for every KV head. What a choice by scores must beat.
class RandomKind : public EvictingKind {
 public:
  RandomKind(std::string policy, KeptExact kept, const EvictingBudget& budget, int64_t seed)
      : EvictingKind(std::move(policy), std::move(kept), budget), seed_(seed) {}

  void score(const EvictingCache& cache, int64_t layer, int64_t kv_head, std::span<float> scores) const override;

 private:
  int64_t seed_;
};

std::shared_ptr<const CacheKind> make_snapkv_kind(const CachePolicy& policy, const CachedModel& model);
std::shared_ptr<const CacheKind> make_random_kind(const CachePolicy& policy, const CachedModel& model);

}  // namespace incontext::cache
