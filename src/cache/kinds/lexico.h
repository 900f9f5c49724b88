#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cache/kinds/coded.h"
#include "cache/kinds/lexico_dictionary.h"
#include "kernels/sparse_attention.h"

namespace incontext::cache {

struct LexicoOptions {
  int64_t key_sparsity = 10, value_sparsity = 6;  // non-zeros of a code, at most where there is an error
  double error = 0;  // a code ends where its residual is this share of its vector; 0: never
  kernels::Coefficients coefficients = kernels::Coefficients::ladder;  // ladders: 2 bytes for a non-zero; integer: 3
  KeptExact kept = {};
};

/// "lexico:dictionary=FILE,sparsity=10": keys (after their rotation) and values as sparse codes over a dictionary for
/// each layer that is fitted to the model once (Lexico, Kim et al. 2024). Attention never decompresses them
/// (kernels/sparse_attention.h). Codes are found by orthogonal matching pursuit (kernels/omp.h).
class LexicoKind : public CodedKind {
 public:
  /// `file` is what the policy names.
  LexicoKind(const LexicoOptions& options, const LexicoDictionary& dictionary, const std::string& file);

  std::string policy() const override;
  std::string opened() const override { return digest_; }
  int64_t fixed_bytes() const override;
  int64_t block_bytes(int64_t layer, const CacheShape& shape) const override;
  std::vector<int64_t> encode(int64_t layer, const CacheShape& shape, const float* keys, const float* values,
                              int64_t blocks, std::byte* out) const override;
  void attend_codes(int64_t layer, const CacheShape& shape, std::span<const CodesAttending> sequences,
                    float scale) const override;
  void check_block(int64_t layer, const CacheShape& shape, std::span<const std::byte> block,
                   const std::string& where) const override;

 private:
  struct Part;  // codes of some vectors

  kernels::SparseLayout layout(const CacheShape& shape) const;
  void code(const LexicoPart& dictionary, int64_t sparsity, const CacheShape& shape, const float* rows, int64_t count,
            Part& part) const;

  LexicoOptions options_;
  LexicoDictionary dictionary_;
  std::vector<torch::Tensor> key_panels_;  // f16 [atoms / 16, head_dim, 16] of each layer
  std::string file_, digest_;
};

std::shared_ptr<const CacheKind> make_lexico_kind(const CachePolicy& policy, const CachedModel& model);

}  // namespace incontext::cache
