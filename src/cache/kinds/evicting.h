#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cache/kinds/full.h"
#include "cache/kinds/kept_exact.h"

namespace incontext::cache {

class EvictingCache;

/// How much of a prompt stays: so many tokens, or a share of them.
struct EvictingBudget {
  int64_t tokens = 0;  // 0: by `share`
  double share = 0.25;

  std::vector<std::string> options() const;  // for the policy's text, without what is the default
};
EvictingBudget read_budget(PolicyOptions& options);

/// A kind that forgets a part of a prompt at its end, and keeps the rest, and whatever follows, exactly. The first
/// `sinks` and the last `tail` positions stay; of those between, every KV head keeps the ones of the highest scores.
class EvictingKind : public CacheKind, public std::enable_shared_from_this<EvictingKind> {
 public:
  EvictingKind(std::string policy, KeptExact kept, const EvictingBudget& budget);

  std::string policy() const override { return policy_; }
  std::unique_ptr<KvCache> make(const CacheShape& shape) const override;
  int64_t bytes(const CacheShape& shape) const override;
  int64_t reading_bytes(const CacheShape& shape, int64_t prompt) const override;
  int64_t bytes_after(const CacheShape& shape, int64_t prompt) const override;
  bool compresses_prompts() const override { return true; }
  void attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores) const override;

  const KeptExact& kept() const { return kept_; }
  const std::shared_ptr<const CacheKind>& exact_kind() const { return exact_kind_; }
  /// How many tokens of a prompt each KV head keeps.
  int64_t kept_tokens(int64_t prompt) const;

  // What a kind defines.

  /// How many of the last queries of a prompt score() wants to see.
  virtual int64_t observed() const { return 0; }
  /// Scores of all positions of a layer for one KV head; those that stay anyway do not matter. Called from several
  /// threads at once.
  virtual void score(const EvictingCache& cache, int64_t layer, int64_t kv_head, std::span<float> scores) const = 0;

 private:
  int64_t queries_bytes(const CacheShape& shape) const;

  std::string policy_;
  KeptExact kept_;
  EvictingBudget budget_;
  std::shared_ptr<const CacheKind> exact_kind_;
};

/// The cache of such a kind. Heads keep different positions, but the same number of them: what is kept lies together
/// in a full cache, so that memory falls, and attention reads no more than that.
class EvictingCache : public KvCache {
 public:
  EvictingCache(std::shared_ptr<const EvictingKind> kind, const CacheShape& shape);

  void attend(int64_t layer, const Rows& queries, int64_t count, const Scores& scores, float* out,
              int64_t out_stride) const override;
  void end_of_prompt() override;
  bool serves_prompts() const override { return !evicted_; }
  /// The last queries of a shorter prompt are not known any more.
  bool can_truncate() const override { return false; }
  int64_t bytes() const override;
  std::unique_ptr<KvCache> copy_prefix(int64_t length, int64_t capacity) const override;
  tensor::NamedTensors to_tensors() const override;
  void from_tensors(const tensor::SafetensorsFile& file, const std::string& prefix, const std::string& where) override;

  const EvictingKind& evicting_kind() const { return static_cast<const EvictingKind&>(kind()); }
  const FullCache& exact() const { return exact_; }
  /// Keeps the last queries of a layer while a prompt may still be read.
  void observe(int64_t layer, const Rows& queries, int64_t count, float scale) const;
  /// The query at a position, one of the last observed() ones: [heads, head_dim]; and how attention scales scores.
  const float* query(int64_t layer, int64_t position) const;
  /// Whether a layer has been asked anything: a benchmark fills caches without.
  bool has_queries(int64_t layer) const { return !queries_[static_cast<size_t>(layer)].empty(); }
  float scale() const { return scale_; }

 private:
  void store(int64_t layer, const Rows& keys, const Rows& values, int64_t first, int64_t count) override;
  void forget(int64_t length) override;
  void forget_queries();

  FullCache exact_;
  bool evicted_ = false;
  // What attention has been asked shows what a prompt is about. attend() is const, for it changes nothing that is held
  // of the past; these are notes of what went by. [layers][observed, heads * head_dim], by position modulo observed().
  mutable std::vector<std::vector<float>> queries_;
  mutable float scale_ = 1;
};

}  // namespace incontext::cache
