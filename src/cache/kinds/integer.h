#pragma once

#include "cache/kinds/coded.h"
#include "kernels/integer_codes.h"

namespace incontext::cache {

/// How an integer kind codes.
struct IntegerOptions {
  kernels::IntegerCodes keys = {}, values = {.values = true};
  bool rotate = false;  // keys, queries and values, by a Walsh-Hadamard matrix
  bool refit = false;   // scales of codes without zeros (quantize_symmetric)
};

/// Keys and values as integers of 8, 4 or 2 bits: "q8_0" and "q4_0" as llama.cpp has them (a token's 32 channels share
/// a scale, keys and values are rotated, scales fitted again) and "kivi" (Liu et al. 2024: keys share scale and zero by
/// channel over 32 tokens, values by token over 32 channels or more).
class IntegerKind : public CodedKind {
 public:
  IntegerKind(std::string policy, KeptExact kept, const IntegerOptions& options)
      : CodedKind(std::move(kept)), policy_(std::move(policy)), options_(options) {}

  std::string policy() const override { return policy_; }
  int64_t block_bytes(int64_t layer, const CacheShape& shape) const override;
  std::vector<int64_t> encode(int64_t layer, const CacheShape& shape, const float* keys, const float* values,
                              int64_t blocks, std::byte* out) const override;
  void attend_codes(int64_t layer, const CacheShape& shape, std::span<const CodesAttending> sequences,
                    float scale) const override;
  void check_block(int64_t layer, const CacheShape& shape, std::span<const std::byte> block,
                   const std::string& where) const override;

 private:
  std::string policy_;
  IntegerOptions options_;
};

std::shared_ptr<const CacheKind> make_q8_0_kind(const CachePolicy& policy, const CachedModel& model);
std::shared_ptr<const CacheKind> make_q4_0_kind(const CachePolicy& policy, const CachedModel& model);
std::shared_ptr<const CacheKind> make_kivi_kind(const CachePolicy& policy, const CachedModel& model);

}  // namespace incontext::cache
