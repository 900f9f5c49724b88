#pragma once

#include "base/error.h"
#include "kernels/reads.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// A projection takes the tokens between reads with as many products as there are of them, up to this distance of
/// reads.
constexpr int64_t kMostReadsApart = 4;

/// The tokens of x [batch, time, width] that are read: x itself, or a view [batch, reads.count(time), width].
inline torch::Tensor read_tokens(const torch::Tensor& x, const kernels::Reads& reads) {
  return reads.all() ? x : x.slice(1, reads.first, x.size(1), reads.every);
}

/// The rows first, first + every, … of a matrix: the reads of sequences that lie in it one after the other, where they
/// are regular.
inline torch::Tensor read_rows(const torch::Tensor& rows, const kernels::Reads& reads) {
  return rows.slice(0, reads.first, rows.size(0), reads.every);
}

/// Fails unless x [batch, time, width] has a token to read.
inline void check_reads(const char* where, const torch::Tensor& x, const kernels::Reads& reads) {
  base::check(x.dim() == 3 && reads.first >= 0 && reads.every >= 1 && (x.size(1) == 0 || reads.count(x.size(1)) > 0),
              "[{}] expected [batch, time, width] with more than {} tokens to read every {} from, got [{}]", where,
              reads.first, reads.every, fmt::join(x.sizes(), ", "));
}

}  // namespace incontext::ops
