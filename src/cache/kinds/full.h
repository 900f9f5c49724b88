#pragma once

#include "base/reservation.h"
#include "cache/kind.h"
#include "kernels/storage.h"
#include "tensor/torch.h"

namespace incontext::cache {

/// Keeps every key and value as it came, in f16 (the default; values beyond its largest are kept as its
/// largest), bf16 or f32.
///
/// The keys of one KV head of one layer lie together, in blocks of positions (kernels/key_blocks.h), and so do its
/// values, as rows: attention reads each in one stream. Address space for the whole capacity is reserved at once and
/// memory comes page by page as tokens arrive: nothing is ever copied to grow, and bytes() counts the pages in use.
class FullCache : public KvCache {
 public:
  FullCache(std::shared_ptr<const CacheKind> kind, const CacheShape& shape, kernels::Storage storage);

  void attend(int64_t layer, const Rows& queries, int64_t count, const Scores& scores, float* out,
              int64_t out_stride) const override;
  int64_t bytes() const override;
  std::unique_ptr<KvCache> copy_prefix(int64_t length, int64_t capacity) const override;
  tensor::NamedTensors to_tensors() const override;
  void from_tensors(const tensor::SafetensorsFile& file, const std::string& prefix, const std::string& where) override;

  /// What this cache would hold had positions [first, first + 32 * blocks) of a layer never come: those behind move up.
  /// For kinds that keep the exact ends of a past in a cache of this kind.
  void drop(int64_t layer, int64_t first, int64_t blocks);
  /// Keeps of each KV head of a layer `count` positions only, kept[head * count + i], ascending: they move up.
  void keep(int64_t layer, std::span<const int64_t> kept, int64_t count);
  /// Keys and values of positions [first, first + count) of a layer as fp32, each [count, kv_heads, head_dim].
  void read(int64_t layer, int64_t first, int64_t count, float* keys, float* values) const;
  /// Into layers [0, shape().layers), which are empty: what layers first_layer + … of `other`, of the same heads and
  /// storage, hold of their first `most` positions.
  void take(const FullCache& other, int64_t first_layer, int64_t most);
  int64_t layer_bytes(int64_t layer) const;
  /// from_tensors(), where layers may differ in length.
  void from_tensors_of_lengths(const tensor::SafetensorsFile& file, const std::string& prefix,
                               const std::string& where);

  /// Where the keys (in blocks) and the values (as rows) of a layer's KV heads begin, [kv_heads].
  const void* const* keys(int64_t layer) const { return heads_.data() + layer * 2 * shape().kv_heads; }
  const void* const* values(int64_t layer) const { return keys(layer) + shape().kv_heads; }
  kernels::Storage storage() const { return storage_; }

 private:
  enum class Part { keys = 0, values = 1 };

  void store(int64_t layer, const Rows& keys, const Rows& values, int64_t first, int64_t count) override;
  void forget(int64_t length) override;
  /// Bytes from the start of a head's keys or values up to the end of its first `length` positions.
  int64_t part_bytes(Part part, int64_t length) const;
  /// heads_[index] is of this part.
  Part part_of(size_t index) const;
  /// The first `length` positions of a layer where they lie: values [kv_heads, length, head_dim], keys [kv_heads,
  /// blocks, head_dim, 32].
  torch::Tensor part(int64_t layer, Part part, int64_t length) const;
  /// Gives memory behind a layer's length back.
  void release_behind(int64_t layer);
  void take_tensors(const tensor::SafetensorsFile& file, const std::string& prefix, const std::string& where,
                    bool one_length);

  kernels::Storage storage_;
  int64_t head_bytes_;  // from one head's keys or values to the next, whole pages
  base::Reservation memory_;
  std::vector<void*> heads_;  // [layers, 2, kv_heads]
};

/// The kind: "full" or "full:f16", "full:bf16", "full:f32". Attention of all its sequences is one kernel call.
class FullKind : public CacheKind, public std::enable_shared_from_this<FullKind> {
 public:
  explicit FullKind(kernels::Storage storage) : storage_(storage) {}

  std::string policy() const override;
  std::unique_ptr<KvCache> make(const CacheShape& shape) const override;
  int64_t bytes(const CacheShape& shape) const override;
  void attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores) const override;

 private:
  kernels::Storage storage_;
};

/// One sequence's part in attention over full caches.
struct FullAttending {
  const FullCache* cache = nullptr;
  int64_t layer = 0;
  Rows queries;
  int64_t count = 0;
  int64_t first = 0;   // position of the first row in this cache
  int64_t window = 0;  // Scores::window, in positions of this cache
  float* out = nullptr;
  int64_t out_stride = 0;
  float* log_sums = nullptr;  // kernels/cache_attention.h
};

/// KvCache::attend() of each, in as few kernel calls as their shapes allow.
void attend_full(std::span<const FullAttending> sequences, float scale);

/// Bytes of one layer of a full cache that holds `positions`, in whole pages.
int64_t full_layer_bytes(const CacheShape& shape, kernels::Storage storage, int64_t positions);

std::shared_ptr<const CacheKind> make_full_kind(const CachePolicy& policy, const CachedModel& model);

}  // namespace incontext::cache
