#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <numeric>

#include "base/error.h"
#include "eval/baselines/lasso.h"
#include "eval/baselines/predictor.h"
#include "support/close.h"

namespace incontext::eval {
namespace {

using tasks::PromptKind;
using testing::Tolerance;

std::span<const double> values(const torch::Tensor& tensor) {
  return {tensor.data_ptr<double>(), static_cast<size_t>(tensor.numel())};
}

tasks::Prompts prompts_of(PromptKind kind, int64_t batch, int64_t points, int64_t dims) {
  tasks::TaskOptions options;
  options.dims = dims;
  return sample_prompts(*tasks::make_task(options), {.kind = kind}, {.batch = batch, .points = points});
}

torch::Tensor ask(Method method, const tasks::Prompts& prompts, const BaselineOptions& options = {}) {
  std::vector<int64_t> positions(static_cast<size_t>(prompts.xs.size(1)));
  std::iota(positions.begin(), positions.end(), 0);
  base::ThreadPool pool(2);
  return make_predictor(method, options)->predict(prompts, positions, pool);
}

TEST(Predictor, EveryMethodAnswersZeroWithoutExamples) {
  const tasks::Prompts prompts = prompts_of(PromptKind::standard, 3, 4, 2);
  BaselineOptions options;
  options.network.steps = 1;
  for (const Method method : base::values_of<Method>()) {
    const char* name = base::name_of(method);
    const torch::Tensor answers = ask(method, prompts, options);
    EXPECT_EQ(answers.sizes(), (std::vector<int64_t>{3, 4})) << name;
    EXPECT_EQ(answers.select(1, 0).abs().max().item<double>(), 0) << name;
    EXPECT_EQ(answers.select(1, 3).eq(0).any().item<bool>(), method == Method::zero) << name;
  }
}

TEST(Predictor, AnswersUseOnlyEarlierExamples) {
  tasks::Prompts prompts = prompts_of(PromptKind::opposite_orthant, 2, 8, 3);
  BaselineOptions options;
  options.network.steps = 3;
  for (const Method method : base::values_of<Method>()) {
    const char* name = base::name_of(method);
    const torch::Tensor before = ask(method, prompts, options);
    tasks::Prompts changed = prompts;
    changed.xs = prompts.xs.clone();
    changed.ys = prompts.ys.clone();
    changed.xs.narrow(1, 5, 3).fill_(100);
    changed.ys.narrow(1, 5, 3).fill_(100);
    const torch::Tensor after = ask(method, changed, options);
    const torch::Tensor actual = after.narrow(1, 0, 6).contiguous(), expected = before.narrow(1, 0, 6).contiguous();
    EXPECT_CLOSE(values(actual), values(expected), testing::exact());
    EXPECT_EQ(after.narrow(1, 6, 2).equal(before.narrow(1, 6, 2)), method == Method::zero) << name;
  }
}

TEST(LeastSquares, IsExactFromDimsExamplesOnAndOptimalBelow) {
  const tasks::Prompts prompts = prompts_of(PromptKind::standard, 400, 14, 10);
  const torch::Tensor errors = (ask(Method::least_squares, prompts) - prompts.query_ys.to(torch::kFloat64)).pow(2);
  EXPECT_LT(errors.narrow(1, 10, 4).max().item<double>(), 1e-4);
  for (int64_t n = 0; n < 10; ++n) {  // the part of w outside the span of n inputs remains: E error = dims - n
    EXPECT_NEAR(errors.select(1, n).mean().item<double>(), static_cast<double>(10 - n),
                0.35 * static_cast<double>(10 - n));
  }
}

TEST(LeastSquares, InterpolatesAndIgnoresOrthogonalQuestions) {
  const tasks::Prompts overlapping = prompts_of(PromptKind::overlapping_query, 20, 8, 10);
  const torch::Tensor truth = overlapping.query_ys.narrow(1, 1, 7).to(torch::kFloat64).contiguous();
  const torch::Tensor found = ask(Method::least_squares, overlapping).narrow(1, 1, 7).contiguous();
  EXPECT_CLOSE(values(found), values(truth), (Tolerance{.absolute = 1e-5}));
  const torch::Tensor orthogonal = ask(Method::least_squares, prompts_of(PromptKind::orthogonal_query, 20, 8, 10));
  EXPECT_LT(orthogonal.abs().max().item<double>(), 1e-4) << "the minimum-norm weights lie in the examples' span";
}

TEST(Ridge, TendsToLeastSquaresAndToAveraging) {
  const tasks::Prompts prompts = prompts_of(PromptKind::standard, 10, 12, 5);
  BaselineOptions options;
  options.ridge_penalty = 1e-9;
  EXPECT_CLOSE(values(ask(Method::ridge, prompts, options)), values(ask(Method::least_squares, prompts)),
               (Tolerance{.absolute = 1e-4}));
  options.ridge_penalty = 1e9;
  torch::Tensor sums = ask(Method::averaging, prompts);  // n times it is X^T y · x, the first order in 1/penalty
  sums = (sums * torch::arange(12, torch::kFloat64)).contiguous();
  EXPECT_CLOSE(values((ask(Method::ridge, prompts, options) * 1e9).contiguous()), values(sums),
               (Tolerance{.absolute = 1e-4}));
}

TEST(Ridge, SolvesItsNormalEquations) {
  tasks::Prompts prompts =
      prompts_of(PromptKind::standard, 1, 2, 1);  // one example in one dimension: w = x y / (x² + penalty)
  const double x = prompts.xs[0][0][0].item<double>(), y = prompts.ys[0][0].item<double>();
  BaselineOptions options;
  options.ridge_penalty = 0.7;
  EXPECT_NEAR(ask(Method::ridge, prompts, options)[0][1].item<double>(),
              x * y / (x * x + 0.7) * prompts.xs[0][1][0].item<double>(), 1e-6);
}

TEST(Averaging, IsTheMeanOfXTimesY) {
  const tasks::Prompts prompts = prompts_of(PromptKind::standard, 6, 9, 4);
  const torch::Tensor xs = prompts.xs.to(torch::kFloat64), ys = prompts.ys.to(torch::kFloat64);
  const torch::Tensor w = (xs.narrow(1, 0, 8) * ys.narrow(1, 0, 8).unsqueeze(2)).mean(1);
  const torch::Tensor expected = (w * xs.select(1, 8)).sum(1).contiguous();
  EXPECT_CLOSE(values(ask(Method::averaging, prompts).select(1, 8).contiguous()), values(expected),
               (Tolerance{.absolute = 1e-12}));
}

TEST(NearestNeighbours, AgreesWithSortingAllDistances) {
  const tasks::Prompts prompts = prompts_of(PromptKind::random_orthant, 20, 12, 3);
  const torch::Tensor answers = ask(Method::nearest_neighbours, prompts);
  for (int64_t b = 0; b < 20; ++b) {
    for (int64_t n = 1; n < 12; ++n) {
      const torch::Tensor distances = (prompts.xs[b].narrow(0, 0, n) - prompts.query_xs[b][n]).norm(2, 1);
      const torch::Tensor nearest = distances.argsort().narrow(0, 0, std::min<int64_t>(n, 3));
      const double expected = prompts.ys[b].index_select(0, nearest).to(torch::kFloat64).mean().item<double>();
      EXPECT_NEAR(answers[b][n].item<double>(), expected, 1e-9);
    }
  }
}

TEST(Lasso, OnAnOrthonormalDesignIsTheSoftThreshold) {
  const Eigen::Index dims = 8;
  Eigen::MatrixXd random = Eigen::MatrixXd::Zero(dims, dims);
  base::RandomStream stream(1, "lasso test", 0);
  for (Eigen::Index i = 0; i < random.size(); ++i) random.data()[i] = stream.normal();
  const Eigen::MatrixXd q = random.householderQr().householderQ();
  const Eigen::MatrixXd xs = std::sqrt(static_cast<double>(dims)) * q;  // X^T X = n I
  Eigen::VectorXd w(dims);
  w << 2, -1, 0.5, -0.25, 0.1, 0, 0.31, -0.29;
  const Eigen::VectorXd ys = xs * w;
  LassoPath path(dims, 0.3);
  for (Eigen::Index i = 0; i < dims; ++i) path.add(xs.row(i).transpose(), ys[i]);
  path.solve(1e-14, 1000);
  for (Eigen::Index j = 0; j < dims; ++j) {
    const double expected = std::copysign(std::max(std::fabs(w[j]) - 0.3, 0.0), w[j]);
    EXPECT_NEAR(path.weights()[j], expected, 1e-6) << j;
  }
}

TEST(Lasso, MeetsTheOptimalityConditions) {
  const double alpha = 0.2;
  const tasks::Prompts prompts = prompts_of(PromptKind::standard, 1, 30, 12);
  LassoPath path(12, alpha);
  for (int64_t n = 1; n <= 30; ++n) {
    const Eigen::MatrixXf all =
        Eigen::Map<const Eigen::Matrix<float, -1, -1, Eigen::RowMajor>>(prompts.xs.data_ptr<float>(), 30, 12);
    const Eigen::MatrixXd xs = all.topRows(n).cast<double>();
    const Eigen::VectorXd ys = Eigen::Map<const Eigen::VectorXf>(prompts.ys.data_ptr<float>(), n).cast<double>();
    path.add(xs.row(n - 1).transpose(), ys[n - 1]);
    EXPECT_LT(path.solve(1e-13, 100'000), 100'000);
    EXPECT_GE(path.duality_gap(), -1e-12);
    // 0 is in the subdifferential: X^T (y - X w) / n = alpha sign(w) where w != 0, within [-alpha, alpha] elsewhere.
    const Eigen::VectorXd gradient = xs.transpose() * (ys - xs * path.weights()) / static_cast<double>(n);
    for (Eigen::Index j = 0; j < 12; ++j) {
      const double w = path.weights()[j];
      if (std::fabs(w) > 1e-6) {
        EXPECT_NEAR(gradient[j], std::copysign(alpha, w), 1e-5) << n << " examples, coordinate " << j;
      } else {
        EXPECT_LE(std::fabs(gradient[j]), alpha + 1e-5) << n << " examples, coordinate " << j;
      }
    }
  }
}

TEST(Lasso, BeatsLeastSquaresOnSparseFunctions) {
  tasks::TaskOptions sparse;
  sparse.name = tasks::TaskName::sparse_linear_regression;
  const auto task = tasks::make_task(sparse);
  base::ThreadPool pool(2);
  const tasks::Prompts prompts = sample_prompts(*task, {}, {.batch = 100, .points = 16});
  BaselineOptions options;
  options.predictors = {Method::least_squares, Method::lasso};
  options.lasso.alphas = {0.1, 0.01};
  const std::vector<BaselineErrors> results = run_baselines(options, prompts, pool);
  ASSERT_EQ(results.size(), 3U);
  const auto score = [&](size_t k) {
    return results[k].squared_errors.select(1, 15).mean().item<double>() / task->normalisation();
  };
  EXPECT_EQ(results[1].label, "lasso 0.1");
  EXPECT_EQ(results[2].label, "lasso 0.01");
  EXPECT_NEAR(score(0), 0.25, 0.1) << "least squares does not know of sparsity: 1 - 15/20";
  EXPECT_LT(score(1), 0.12);
  EXPECT_LT(score(2), 0.12);
  EXPECT_GT(score(1), 1e-4) << "shrinkage leaves a bias";
}

}  // namespace
}  // namespace incontext::eval
