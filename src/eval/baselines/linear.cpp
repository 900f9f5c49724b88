#include <Eigen/Cholesky>
#include <Eigen/QR>

#include "eval/baselines/methods.h"

namespace incontext::eval {
namespace {

/// Fits weights to the first n examples and predicts w·query.
class LinearPredictor : public PromptwisePredictor {
 protected:
  virtual Eigen::VectorXd fit(const Eigen::Ref<const RowMatrix>& xs,
                              const Eigen::Ref<const Eigen::VectorXd>& ys) const = 0;

  void predict_prompt(const PlainPrompt& prompt, std::span<const int64_t> positions,
                      std::span<double> answers) const final {
    for (size_t k = 0; k < positions.size(); ++k) {
      const int64_t n = positions[k];
      answers[k] = prompt.query_xs.row(n).dot(fit(prompt.xs.topRows(n), prompt.ys.head(n)));
    }
  }
};

class LeastSquares final : public LinearPredictor {
 public:
  std::string label() const override { return "least_squares"; }

 protected:
  Eigen::VectorXd fit(const Eigen::Ref<const RowMatrix>& xs,
                      const Eigen::Ref<const Eigen::VectorXd>& ys) const override {
    return xs.completeOrthogonalDecomposition().solve(ys);
  }
};

class Ridge final : public LinearPredictor {
 public:
  explicit Ridge(double penalty) : penalty_(penalty) {}
  std::string label() const override { return "ridge"; }

 protected:
  Eigen::VectorXd fit(const Eigen::Ref<const RowMatrix>& xs,
                      const Eigen::Ref<const Eigen::VectorXd>& ys) const override {
    Eigen::MatrixXd normal = xs.transpose() * xs;
    normal.diagonal().array() += penalty_;
    return normal.llt().solve(xs.transpose() * ys);
  }

 private:
  double penalty_;
};

class Averaging final : public LinearPredictor {
 public:
  std::string label() const override { return "averaging"; }

 protected:
  Eigen::VectorXd fit(const Eigen::Ref<const RowMatrix>& xs,
                      const Eigen::Ref<const Eigen::VectorXd>& ys) const override {
    return xs.transpose() * ys / static_cast<double>(ys.size());
  }
};

}  // namespace

std::unique_ptr<Predictor> make_least_squares(const BaselineOptions&) { return std::make_unique<LeastSquares>(); }

std::unique_ptr<Predictor> make_ridge(const BaselineOptions& options) {
  return std::make_unique<Ridge>(options.ridge_penalty);
}

std::unique_ptr<Predictor> make_averaging(const BaselineOptions&) { return std::make_unique<Averaging>(); }

}  // namespace incontext::eval
