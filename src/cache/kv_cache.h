#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cache/policy.h"
#include "kernels/storage.h"

namespace incontext::cache {

/// What a cache must know of the model whose past it keeps.
struct CacheShape {
  int64_t layers = 0;
  int64_t heads = 0;     // of queries
  int64_t kv_heads = 0;  // of keys and values; divides heads
  int64_t head_dim = 0;
  int64_t capacity = 0;  // tokens it will hold at most
};

/// Rows of new tokens, fp32: head h of row i begins at data[i * stride + h * head_dim].
struct Rows {
  const float* data = nullptr;
  int64_t stride = 0;
};

/// Keys and values of a layer as arrays, one per KV head: keys in blocks (kernels/key_blocks.h), values as rows.
struct PlainLayer {
  kernels::Storage storage = kernels::Storage::f16;
  int64_t value_stride = 0;             // elements between positions
  const void* const* keys = nullptr;    // [kv_heads]
  const void* const* values = nullptr;  // [kv_heads]
};

/// How a layer of the model turns keys into scores.
struct Scores {
  float scale = 1;
  int64_t window = 0;  // a token sees so many positions, itself included; 0: all
};

/// What attention remembers of one sequence. It computes: because a kind may keep its past in any form, scores over
/// that past are its own business, and a model never names a kind.
class KvCache {
 public:
  explicit KvCache(const CacheShape& shape) : shape_(shape), lengths_(static_cast<size_t>(shape.layers), 0) {}
  virtual ~KvCache() = default;
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  const CacheShape& shape() const { return shape_; }
  /// Tokens that layer `layer` holds. Layers differ only while a step is on its way through the model.
  int64_t length(int64_t layer = 0) const { return lengths_[static_cast<size_t>(layer)]; }

  /// Adds `count` tokens to a layer. More than the capacity is an Error that tells both numbers.
  void append(int64_t layer, const Rows& keys, const Rows& values, int64_t count);

  /// out[i, h] = softmax over what token i sees of (scale * q[i, h]·k) times v, for the last `count` tokens of the
  /// layer, which append() has added before. Grouped queries: head h reads key head h / (heads / kv_heads).
  virtual void attend(int64_t layer, const Rows& queries, int64_t count, const Scores& scores, float* out,
                      int64_t out_stride) const = 0;

  /// Where a layer's keys and values lie, if as plain arrays: then attend() of many sequences is one kernel call.
  /// Nothing: this kind computes by itself.
  virtual std::optional<PlainLayer> plain_layer(int64_t layer) const = 0;

  /// Bytes really held: every buffer and index, in whole pages where memory comes in pages.
  virtual int64_t bytes() const = 0;

  /// Forgets every token from `length` on, in every layer.
  void truncate(int64_t length);

  virtual std::string policy() const = 0;

  /// A cache of the same kind that holds the first `length` tokens and has room for `capacity`.
  virtual std::unique_ptr<KvCache> copy_prefix(int64_t length, int64_t capacity) const = 0;

  /// Writes and reads all that is held. `fingerprint` names the model; load() refuses a file that was written with
  /// another fingerprint, policy or shape, and tells which.
  virtual void save(const std::filesystem::path& path, const std::string& fingerprint) const = 0;
  virtual void load(const std::filesystem::path& path, const std::string& fingerprint) = 0;

 protected:
  virtual void store(int64_t layer, const Rows& keys, const Rows& values, int64_t first, int64_t count) = 0;
  virtual void forget(int64_t length) = 0;
  void set_length(int64_t length) { lengths_.assign(lengths_.size(), length); }

 private:
  CacheShape shape_;
  std::vector<int64_t> lengths_;
};

/// An empty cache of the kind that `policy` names; unknown kinds and options are Errors that list the known ones.
std::unique_ptr<KvCache> make_cache(const CachePolicy& policy, const CacheShape& shape);

/// Bytes that a cache of `shape.capacity` tokens will hold when it is full.
int64_t full_bytes(const CachePolicy& policy, const CacheShape& shape);

/// One sequence's part in attention over the caches of several.
struct Attending {
  const KvCache* cache = nullptr;
  Rows queries;
  int64_t count = 0;
  float* out = nullptr;
  int64_t out_stride = 0;
};

/// attend() of every sequence; those whose caches are plain arrays go together.
void attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores);

}  // namespace incontext::cache
