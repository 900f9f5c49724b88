#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cache/kinds/code_blocks.h"
#include "cache/kinds/full.h"
#include "cache/kinds/kept_exact.h"

namespace incontext::cache {

/// Positions that are compressed together.
constexpr int64_t kCodedBlock = 32;

/// One sequence's part in attention over codes: `count` rows of queries that all attend to the coded positions
/// [first, last), counted from the first coded one.
struct CodesAttending {
  const CodeBlocks* codes = nullptr;
  Rows queries;
  int64_t count = 0;
  int64_t first = 0, last = 0;
  float* out = nullptr;       // [count, heads, head_dim]
  float* log_sums = nullptr;  // [count, heads], as CacheAttentionSequence::log_sums
};

/// A kind that keeps the first tokens (`sinks`), the last ones (`tail`) and perhaps some layers exact, and of what lies
/// between a compressed form, or nothing at all.
///
/// While a prompt is read all of it is exact, as Lexico and KIVI define it, and has the bits of the full cache. At its
/// end, and while a continuation is made, what leaves the tail is compressed in blocks of 32 positions. What a token
/// attends to in which form depends on its position and on where the prompt ended, not on how many tokens a step has.
class CodedKind : public CacheKind, public std::enable_shared_from_this<CodedKind> {
 public:
  explicit CodedKind(KeptExact kept);

  std::unique_ptr<KvCache> make(const CacheShape& shape) const override;
  int64_t bytes(const CacheShape& shape) const override;
  int64_t reading_bytes(const CacheShape& shape, int64_t prompt) const override;
  bool compresses_prompts() const override { return true; }
  void attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores) const override;

  const KeptExact& kept() const { return kept_; }
  const std::shared_ptr<const CacheKind>& exact_kind() const { return exact_kind_; }

  // What a kind of codes defines.

  /// The largest size of the codes of a block of 32 positions of one layer, keys and values of all KV heads; 0 where
  /// nothing is kept of them.
  virtual int64_t block_bytes(int64_t layer, const CacheShape& shape) const = 0;
  /// Compresses blocks of positions: keys and values [blocks * 32, kv_heads, head_dim], block i to out + i *
  /// block_bytes. Returns the size of each.
  virtual std::vector<int64_t> encode(int64_t layer, const CacheShape& shape, const float* keys, const float* values,
                                      int64_t blocks, std::byte* out) const = 0;
  /// Attention over codes, for all sequences at once. A row's bits depend on its query, the codes that it sees and the
  /// instruction set only.
  virtual void attend_codes(int64_t layer, const CacheShape& shape, std::span<const CodesAttending> sequences,
                            float scale) const = 0;
  /// An Error, which names `where`, for a block from a file that attend_codes() cannot read.
  virtual void check_block(int64_t layer, const CacheShape& shape, std::span<const std::byte> block,
                           const std::string& where) const = 0;

 private:
  /// Of all codes of a full cache.
  int64_t code_bytes(const CacheShape& shape) const;

  KeptExact kept_;
  std::shared_ptr<const CacheKind> exact_kind_;
};

/// The cache of such a kind. A layer's exact positions lie in a full cache, the sinks first and then those from the
/// first one that is not coded: what is coded is dropped from between.
class CodedCache : public KvCache {
 public:
  CodedCache(std::shared_ptr<const CodedKind> kind, const CacheShape& shape);

  void attend(int64_t layer, const Rows& queries, int64_t count, const Scores& scores, float* out,
              int64_t out_stride) const override;
  void end_of_prompt() override;
  bool serves_prompts() const override { return !compressed(); }
  bool can_truncate() const override { return !compressed(); }
  int64_t bytes() const override;
  std::unique_ptr<KvCache> copy_prefix(int64_t length, int64_t capacity) const override;
  tensor::NamedTensors to_tensors() const override;
  void from_tensors(const tensor::SafetensorsFile& file, const std::string& prefix, const std::string& where) override;

  const CodedKind& coded_kind() const { return static_cast<const CodedKind&>(kind()); }
  const FullCache& exact() const { return exact_; }
  const CodeBlocks* codes(int64_t layer) const { return codes_[static_cast<size_t>(layer)].get(); }
  /// Positions behind the sinks that the token at `position` does not see exactly, in a layer that is compressed.
  int64_t coded_for(int64_t layer, int64_t position) const;
  /// Positions behind the sinks that are not held exactly any more.
  int64_t dropped(int64_t layer) const { return dropped_[static_cast<size_t>(layer)]; }

 private:
  bool compressed() const;
  void store(int64_t layer, const Rows& keys, const Rows& values, int64_t first, int64_t count) override;
  void forget(int64_t length) override;
  void encode_up_to(int64_t layer, int64_t coded);
  void drop_up_to(int64_t layer, int64_t coded);

  FullCache exact_;
  std::vector<std::unique_ptr<CodeBlocks>> codes_;  // one for each layer; null where there are none
  std::vector<int64_t> coded_, dropped_;            // positions behind the sinks, multiples of 32
  bool reading_ = true;                             // a prompt
};

}  // namespace incontext::cache
