#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"

namespace incontext::tasks {

/// `count` orthonormal rows of `dims` numbers, [count, dims]: Gaussian vectors orthogonalised by Gram-Schmidt (each
/// twice, which is enough for machine precision), so that their span is uniformly distributed.
std::vector<double> random_orthonormal(base::RandomStream& stream, int64_t count, int64_t dims);

/// Makes `vector` orthogonal to the first `count` orthonormal rows of `basis` [>= count, dims].
void remove_components(std::span<const double> basis, int64_t count, std::span<double> vector);

/// A centred Gaussian x = L z with z ~ N(0, I), or x = scale z when L is not given.
class Gaussian {
 public:
  explicit Gaussian(int64_t dims, double scale = 1) : dims_(dims), scale_(scale) {}

  /// Covariance sum_k eigenvalues[k] u_k u_k^T; u_k are the rows of `basis` [eigenvalues.size(), dims].
  Gaussian(int64_t dims, std::span<const double> eigenvalues, std::span<const double> basis);

  /// Draws rows of xs [points, dims], then sets coordinates from `active_dims` on to zero. Row i depends only on the
  /// state of `stream` and on i. When L has fewer columns than rows (a subspace), z has as many numbers.
  void draw(base::RandomStream& stream, int64_t active_dims, std::span<float> xs) const;

  /// Variance of coordinate i.
  double variance(int64_t i) const;

 private:
  int64_t dims_;
  double scale_;
  int64_t rank_ = 0;           // 0: isotropic
  std::vector<float> factor_;  // transposed L, [rank, dims]
};

}  // namespace incontext::tasks
