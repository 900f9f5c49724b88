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

std::shared_ptr<const CacheKind> make_full_kind(const CachePolicy& policy, const CachedModel& model);

}  // namespace incontext::cache
