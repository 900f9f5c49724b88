#pragma once

#include <Eigen/Core>
#include <cstdint>

namespace incontext::eval {

/// Solves min_w |y - X w|² / (2n) + alpha |w|_1 by cyclic coordinate descent, example after example: each solution
/// starts from the one before. Holds X^T X, X^T y and y^T y only. Cost: O(dims²) per example and per sweep.
class LassoPath {
 public:
  LassoPath(int64_t dims, double alpha);

  /// Takes one more example.
  void add(const Eigen::Ref<const Eigen::VectorXd>& x, double y);

  /// Sweeps until the duality gap is at most tolerance * y^T y / n, or `sweeps` times. Returns the sweeps done.
  int64_t solve(double tolerance, int64_t sweeps);

  const Eigen::VectorXd& weights() const { return weights_; }

  /// Objective minus the dual objective at the residual scaled into the feasible set: at least 0, and 0 only at the
  /// solution (Kim et al., "An Interior-Point Method for Large-Scale l1-Regularized Least Squares", 2007, section III).
  double duality_gap() const;

 private:
  double alpha_;
  double examples_ = 0;
  Eigen::MatrixXd gram_;     // X^T X, [dims, dims]
  Eigen::VectorXd moments_;  // X^T y
  double square_ = 0;        // y^T y
  Eigen::VectorXd weights_;
};

}  // namespace incontext::eval
