#pragma once

#include "base/reservation.h"
#include "cache/kv_cache.h"
#include "kernels/storage.h"

namespace incontext::cache {

/// Keeps every key and value as it came, in bf16 (the default), f16 or f32.
///
/// The rows of one KV head of one layer lie together, so that attention reads them in one stream. Address space for the
/// whole capacity is reserved at once and memory comes page by page as tokens arrive: nothing is ever copied to grow,
/// and bytes() counts the pages in use.
class FullCache : public KvCache {
 public:
  FullCache(const CacheShape& shape, kernels::Storage storage);

  void attend(int64_t layer, const Rows& queries, int64_t count, const Scores& scores, float* out,
              int64_t out_stride) const override;
  std::optional<PlainRows> plain_rows(int64_t layer) const override;
  int64_t bytes() const override;
  std::string policy() const override;
  std::unique_ptr<KvCache> copy_prefix(int64_t length, int64_t capacity) const override;
  void save(const std::filesystem::path& path, const std::string& fingerprint) const override;
  void load(const std::filesystem::path& path, const std::string& fingerprint) override;

  kernels::Storage storage() const { return storage_; }
  /// Bytes of a full cache of this shape.
  static int64_t full_bytes(const CacheShape& shape, kernels::Storage storage);

 private:
  enum class Part { keys = 0, values = 1 };

  void store(int64_t layer, const Rows& keys, const Rows& values, int64_t first, int64_t count) override;
  void forget(int64_t length) override;
  int64_t row_bytes() const { return shape().head_dim * kernels::bytes_per_element(storage_); }
  std::byte* head(int64_t layer, Part part, int64_t kv_head) const;

  kernels::Storage storage_;
  int64_t head_bytes_;  // from one head's rows to the next, whole pages
  base::Reservation memory_;
  std::vector<void*> heads_;  // [layers, 2, kv_heads]
};

}  // namespace incontext::cache
