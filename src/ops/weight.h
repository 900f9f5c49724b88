#pragma once

#include <memory>

#include "tensor/torch.h"

namespace incontext::ops {

/// A low-rank addition to a matrix (LoRA, Hu et al. 2021): y += scale * (x·Aᵀ)·Bᵀ. Both factors are fp32.
struct LowRank {
  torch::Tensor a;  // [rank, in]
  torch::Tensor b;  // [out, rank]
  double scale = 1;
};

/// The weight of a linear layer, in the one form in which layers hold it. `matrix` [out, in] has contiguous rows. It is
/// either trained, an fp32 leaf that wants a gradient, or frozen: f32, f16 or bf16, which may lie in a mapped file and
/// is read where it lies, in training as in serving.
struct Weight {
  torch::Tensor matrix;                         // [out, in]
  torch::Tensor bias = {};                      // [out] in fp32, or undefined
  std::shared_ptr<const LowRank> adapter = {};  // or null

  bool defined() const { return matrix.defined(); }
  int64_t out() const { return matrix.size(0); }
  int64_t in() const { return matrix.size(1); }
  /// An fp32 matrix and perhaps a bias, and nothing more: what the fused operations of training take.
  bool plain() const { return matrix.defined() && matrix.scalar_type() == torch::kFloat32 && !adapter; }
};

}  // namespace incontext::ops
