#pragma once

#include <cstdint>
#include <functional>

#include "tensor/torch.h"

namespace incontext::calibrate {

/// How a dictionary learns from a batch's codes.
enum class DictionaryUpdate {
  adam,    // Lexico (Kim et al. 2024): Adam on the mean squared error, the gradient without its part along each atom
  direct,  // each atom moves towards what fits its residuals best, sum c r / sum c², by a share that falls to zero
};

struct DictionaryOptions {
  int64_t atoms = 4096;
  int64_t sparsity = 8;
  int64_t steps = 100;
  int64_t batch = 2048;  // vectors of a step
  DictionaryUpdate update = DictionaryUpdate::direct;
  double learning_rate = 0;  // of the first step, falling to zero as a cosine; 0: 0.01 for adam, 1 for direct
  uint64_t seed = 0;
};

/// Learns atoms [atoms, dim] of length 1, over which sparse codes of vectors (fp32 [count, dim], at least one that is
/// not zero) have a small squared error. They begin as vectors of the data. Each step codes a batch by orthogonal
/// matching pursuit, without gradient, and moves the atoms; atoms that nobody uses become vectors that are coded badly.
/// `progress` is told the steps done and the batch's relative error, and ends the learning early by false.
torch::Tensor learn_dictionary(const torch::Tensor& vectors, const DictionaryOptions& options,
                               const std::function<bool(int64_t step, double error)>& progress = {});

/// Atoms of random directions.
torch::Tensor random_dictionary(int64_t atoms, int64_t dim, uint64_t seed);

/// Mean over vectors [count, dim] of |x - code| / |x|, codes of `sparsity` with exact coefficients.
double coding_error(const torch::Tensor& vectors, const torch::Tensor& atoms, int64_t sparsity);

}  // namespace incontext::calibrate
