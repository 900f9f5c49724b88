#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/safetensors.h"

namespace incontext::cache {

class CacheKind;

/// What a cache must know of the model whose past it keeps.
struct CacheShape {
  int64_t layers = 0;    // that keep keys and values
  int64_t heads = 0;     // of queries
  int64_t kv_heads = 0;  // of keys and values; divides heads
  int64_t head_dim = 0;
  int64_t capacity = 0;  // tokens it will hold at most

  /// Whether one kernel call can serve the heads of both.
  bool same_heads(const CacheShape& other) const {
    return heads == other.heads && kv_heads == other.kv_heads && head_dim == other.head_dim;
  }
};

/// Rows of new tokens, fp32: head h of row i begins at data[i * stride + h * head_dim].
struct Rows {
  const float* data = nullptr;
  int64_t stride = 0;
};

/// How a layer of the model turns keys into scores.
struct Scores {
  float scale = 1;
  int64_t window = 0;  // each token attends to this many positions, itself included; 0: all
};

/// What attention remembers of one sequence. It computes: because a kind may keep its past in any form, scores over
/// that past are its own business, and a model never names a kind.
class KvCache {
 public:
  KvCache(std::shared_ptr<const CacheKind> kind, const CacheShape& shape);
  virtual ~KvCache() = default;
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  const CacheKind& kind() const { return *kind_; }
  const std::shared_ptr<const CacheKind>& shared_kind() const { return kind_; }
  std::string policy() const;
  const CacheShape& shape() const { return shape_; }
  /// Tokens that layer `layer` was given. Layers differ only while a step is on its way through the model. How many of
  /// them the cache still holds is its own business.
  int64_t length(int64_t layer = 0) const { return lengths_.empty() ? 0 : lengths_[static_cast<size_t>(layer)]; }

  /// Adds `count` tokens to a layer. More than the capacity is an Error that tells both numbers.
  void append(int64_t layer, const Rows& keys, const Rows& values, int64_t count);

  /// out[i, h] = softmax over what token i attends to of (scale * q[i, h]·k) times v, for the last `count` tokens of
  /// the layer, which append() has added before. Grouped queries: head h reads key head h / (heads / kv_heads).
  virtual void attend(int64_t layer, const Rows& queries, int64_t count, const Scores& scores, float* out,
                      int64_t out_stride) const = 0;

  /// Called once, when every layer was given the last token of the prompt, and before the first token that follows it:
  /// where a kind compresses what it holds. A copy reads a prompt again: it is called for it once more.
  virtual void end_of_prompt() {}
  /// Whether another prompt that begins with these tokens may go on from here, with the bits of one that is read from
  /// its first token. No longer, once what is held depends on where a prompt ended.
  virtual bool serves_prompts() const { return true; }

  /// Bytes really held: every buffer and index, in whole pages where memory comes in pages.
  virtual int64_t bytes() const = 0;

  /// Whether truncate(length) and copy_prefix(length, …) serve any length. A kind that drops what it cannot bring back
  /// serves only the length it has.
  virtual bool can_truncate() const { return true; }
  /// Forgets every token from `length` on, in every layer.
  void truncate(int64_t length);

  /// A cache of the same kind that holds the first `length` tokens and has room for `capacity`.
  virtual std::unique_ptr<KvCache> copy_prefix(int64_t length, int64_t capacity) const = 0;

  /// All that is held, as tensors of any names; and the same back into a cache that is empty. What does not fit the
  /// shape is an Error that names `where`, and leaves the cache as it was.
  virtual tensor::NamedTensors to_tensors() const = 0;
  virtual void from_tensors(const tensor::SafetensorsFile& file, const std::string& prefix,
                            const std::string& where) = 0;

 protected:
  virtual void store(int64_t layer, const Rows& keys, const Rows& values, int64_t first, int64_t count) = 0;
  virtual void forget(int64_t length) = 0;
  void set_length(int64_t length) { lengths_.assign(lengths_.size(), length); }
  void set_length(int64_t layer, int64_t length) { lengths_[static_cast<size_t>(layer)] = length; }

 private:
  std::shared_ptr<const CacheKind> kind_;
  CacheShape shape_;
  std::vector<int64_t> lengths_;
};

/// One sequence's part in attention over the caches of several.
struct Attending {
  const KvCache* cache = nullptr;
  Rows queries;
  int64_t count = 0;
  float* out = nullptr;
  int64_t out_stride = 0;
};

/// attend() of every sequence: one call for all sequences of a kind.
void attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores);

}  // namespace incontext::cache
