#include "eval/baselines/lasso.h"

#include <algorithm>
#include <cmath>

#include "eval/baselines/methods.h"

namespace incontext::eval {

LassoPath::LassoPath(int64_t dims, double alpha)
    : alpha_(alpha),
      gram_(Eigen::MatrixXd::Zero(dims, dims)),
      moments_(Eigen::VectorXd::Zero(dims)),
      weights_(Eigen::VectorXd::Zero(dims)) {}

void LassoPath::add(const Eigen::Ref<const Eigen::VectorXd>& x, double y) {
  gram_ += x * x.transpose();
  moments_ += y * x;
  square_ += y * y;
  examples_ += 1;
}

int64_t LassoPath::solve(double tolerance, int64_t sweeps) {
  // X^T r, kept current as coordinates move.
  Eigen::VectorXd correlation = moments_ - gram_ * weights_;
  for (int64_t sweep = 0; sweep < sweeps; ++sweep) {
    if (sweep % 5 == 0 && duality_gap() <= tolerance * square_ / examples_) return sweep;
    for (Eigen::Index j = 0; j < weights_.size(); ++j) {
      const double curvature = gram_(j, j);
      if (curvature == 0) continue;  // an inactive coordinate; its weight stays 0
      const double target = correlation[j] + curvature * weights_[j];
      const double shrunk = std::max(std::fabs(target) - alpha_ * examples_, 0.0) / curvature;
      const double change = std::copysign(shrunk, target) - weights_[j];
      if (change == 0) continue;
      weights_[j] += change;
      correlation -= change * gram_.col(j);
    }
  }
  return sweeps;
}

double LassoPath::duality_gap() const {
  const Eigen::VectorXd product = gram_ * weights_;
  const double fitted = moments_.dot(weights_);
  const double residual_square = std::max(square_ - 2 * fitted + product.dot(weights_), 0.0);
  const double residual_label = square_ - fitted;
  const double largest = (moments_ - product).lpNorm<Eigen::Infinity>();
  const double bound = alpha_ * examples_;
  const double factor = largest > bound ? bound / largest : 1.0;
  const double primal = residual_square / 2 + bound * weights_.lpNorm<1>();
  const double dual = factor * residual_label - factor * factor * residual_square / 2;
  return (primal - dual) / examples_;
}

namespace {

class Lasso final : public PromptwisePredictor {
 public:
  explicit Lasso(const LassoOptions& options) : options_(options), alpha_(options.alphas.at(0)) {}
  std::string label() const override { return fmt::format("lasso {}", alpha_); }

 protected:
  void predict_prompt(const PlainPrompt& prompt, std::span<const int64_t> positions,
                      std::span<double> answers) const override {
    LassoPath path(prompt.xs.cols(), alpha_);
    int64_t seen = 0;
    for (size_t k = 0; k < positions.size(); ++k) {
      for (; seen < positions[k]; ++seen) path.add(prompt.xs.row(seen).transpose(), prompt.ys[seen]);
      path.solve(options_.tolerance, options_.sweeps);
      answers[k] = prompt.query_xs.row(seen).dot(path.weights());
    }
  }

 private:
  LassoOptions options_;
  double alpha_;
};

}  // namespace

std::unique_ptr<Predictor> make_lasso(const BaselineOptions& options) {
  base::check(!options.lasso.alphas.empty(), "[baselines] lasso.alphas: expected at least one penalty, got none");
  return std::make_unique<Lasso>(options.lasso);
}

}  // namespace incontext::eval
