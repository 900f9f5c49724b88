#include <gtest/gtest.h>
#include <torch/optim.h>

#include <cmath>

#include "base/error.h"
#include "eval/baselines/predictor.h"
#include "support/close.h"

namespace incontext::eval {
namespace {

using tasks::PromptKind;
using tasks::TaskName;
using testing::Tolerance;

tasks::Prompts prompts_of(TaskName name, PromptKind kind, int64_t batch, int64_t points, int64_t dims) {
  tasks::TaskOptions options;
  options.name = name;
  options.dims = dims;
  return sample_prompts(*tasks::make_task(options), {.kind = kind}, {.batch = batch, .points = points});
}

torch::Tensor ask(Method method, const tasks::Prompts& prompts, const std::vector<int64_t>& positions,
                  const BaselineOptions& options = {}) {
  base::ThreadPool pool(2);
  return make_predictor(method, options)->predict(prompts, positions, pool);
}

double mean_error(const torch::Tensor& answers, const tasks::Prompts& prompts, int64_t position) {
  return (answers.select(1, 0) - prompts.query_ys.select(1, position)).pow(2).mean().item<double>();
}

TEST(DecisionTree, FitsItsExamplesExactly) {
  // Questions that repeat an example are answered with that example's label: the tree is grown to the end.
  const tasks::Prompts prompts = prompts_of(TaskName::linear_regression, PromptKind::overlapping_query, 20, 40, 5);
  const std::vector<int64_t> positions{1, 2, 3, 7, 20, 39};
  const torch::Tensor answers = ask(Method::decision_tree, prompts, positions);
  const torch::Tensor truth =
      prompts.query_ys.index_select(1, torch::tensor(positions, torch::kInt64)).to(torch::kFloat64).contiguous();
  EXPECT_CLOSE((std::span<const double>(answers.data_ptr<double>(), 120)),
               (std::span<const double>(truth.data_ptr<double>(), 120)), (Tolerance{.absolute = 3e-3}));
}

TEST(DecisionTree, SplitsHalfwayBetweenExamples) {
  tasks::Prompts prompts = prompts_of(TaskName::linear_regression, PromptKind::opposite_orthant, 4, 3, 1);
  // Two examples, x = -1 with label 5 and x = 2 with label 9: the border is at 0.5.
  prompts.xs.copy_(torch::tensor({-1.0F, 2.0F, 0.0F}).view({1, 3, 1}).expand({4, 3, 1}));
  prompts.ys.copy_(torch::tensor({5.0F, 9.0F, 0.0F}).view({1, 3}).expand({4, 3}));
  prompts.query_xs.select(1, 2).copy_(torch::tensor({-3.0F, 0.45F, 0.55F, 7.0F}).view({4, 1}));
  const torch::Tensor answers = ask(Method::decision_tree, prompts, {2});
  const double expected[] = {5, 5, 9, 9};
  for (int64_t b = 0; b < 4; ++b) EXPECT_NEAR(answers[b][0].item<double>(), expected[b], 1e-5);
}

TEST(BoostedTrees, BeatPredictingZeroAndASingleTreeOnTrees) {
  const tasks::Prompts prompts = prompts_of(TaskName::decision_tree, PromptKind::standard, 60, 101, 20);
  const double boosted = mean_error(ask(Method::boosted_trees, prompts, {100}), prompts, 100);
  const double greedy = mean_error(ask(Method::decision_tree, prompts, {100}), prompts, 100);
  const double zero = mean_error(ask(Method::zero, prompts, {100}), prompts, 100);
  EXPECT_NEAR(zero, 1, 0.4);
  EXPECT_LT(boosted, 0.8 * zero);
  EXPECT_GT(boosted, 0.02 * zero) << "100 examples do not tell a tree over 20 coordinates";
  EXPECT_LT(boosted, greedy);
}

TEST(BoostedTrees, ShrinkTowardsTheMeanAsTheFormulaSays) {
  // Labels 2 and 4 on the two sides, two examples each; a leaf holds sum / (count + 1) of the deviations left.
  tasks::Prompts prompts = prompts_of(TaskName::linear_regression, PromptKind::opposite_orthant, 1, 5, 1);
  prompts.xs.copy_(torch::tensor({-1.0F, -1.0F, 1.0F, 1.0F, 0.0F}).view({1, 5, 1}));
  prompts.ys.copy_(torch::tensor({2.0F, 2.0F, 4.0F, 4.0F, 0.0F}).view({1, 5}));
  prompts.query_xs.fill_(1);
  BaselineOptions options;
  options.boosting.rounds = 2;
  options.boosting.learning_rate = 0.5;
  // Mean 3; deviation 1; a leaf of two moves by 0.5 * 2 d / (2 + 1) = d/3, twice.
  EXPECT_NEAR(ask(Method::boosted_trees, prompts, {4}, options)[0][0].item<double>(), 3 + 1 - (2.0 / 3) * (2.0 / 3),
              1e-5);
}

TEST(Trees, ErrorsOfXgboostAreOneLine) {
  tasks::Prompts prompts = prompts_of(TaskName::linear_regression, PromptKind::opposite_orthant, 2, 3, 2);
  prompts.ys.fill_(NAN);
  try {
    ask(Method::boosted_trees, prompts, {2});
    FAIL() << "expected an Error";
  } catch (const base::Error& error) {
    EXPECT_STREQ(error.what(),
                 "[xgboost] setting labels: Check failed: valid: Label contains NaN, infinity or a value too large.");
  }
}

TEST(NeuralNetwork, LearnsALinearFunction) {
  const tasks::Prompts prompts = prompts_of(TaskName::linear_regression, PromptKind::standard, 30, 41, 5);
  BaselineOptions options;
  options.network.steps = 300;
  const double early = mean_error(ask(Method::neural_network, prompts, {2}, options), prompts, 2) / 5;
  const double late = mean_error(ask(Method::neural_network, prompts, {40}, options), prompts, 40) / 5;
  EXPECT_LT(late, 0.1);
  EXPECT_GT(late, 1e-5) << "a network does not know that f is linear";
  EXPECT_GT(early, 3 * late);
}

TEST(NeuralNetwork, FollowsTheGradientOfAutograd) {
  // The same network and Adam by libtorch; start and end seen through the predictions.
  const int64_t dims = 3, hidden = 6, steps = 25;
  const tasks::Prompts prompts = prompts_of(TaskName::linear_regression, PromptKind::standard, 2, 8, dims);
  BaselineOptions options;
  options.network = {.hidden = hidden, .steps = steps, .learning_rate = 0.02, .seed = 4};
  const torch::Tensor answers = ask(Method::neural_network, prompts, {7}, options);
  for (int64_t b = 0; b < 2; ++b) {
    base::RandomStream stream(4, "network baseline", 0);
    const auto draw = [&](std::vector<int64_t> shape, int64_t fan_in) {
      torch::Tensor tensor = torch::empty(shape);
      const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
      for (int64_t i = 0; i < tensor.numel(); ++i) {
        tensor.data_ptr<float>()[i] = static_cast<float>(stream.uniform(-bound, bound));
      }
      return tensor.requires_grad_();
    };
    const torch::Tensor inner = draw({dims, hidden}, dims), inner_bias = draw({hidden}, dims);
    const torch::Tensor outer = draw({hidden, 1}, hidden), outer_bias = draw({1}, hidden);
    const auto forward = [&](const torch::Tensor& x) {
      return (torch::relu(x.matmul(inner) + inner_bias).matmul(outer) + outer_bias).squeeze(-1);
    };
    torch::optim::Adam adam({inner, inner_bias, outer, outer_bias}, torch::optim::AdamOptions(0.02));
    for (int64_t step = 0; step < steps; ++step) {
      adam.zero_grad();
      (forward(prompts.xs[b].narrow(0, 0, 7)) - prompts.ys[b].narrow(0, 0, 7)).pow(2).mean().backward();
      adam.step();
    }
    EXPECT_NEAR(answers[b][0].item<double>(), forward(prompts.xs[b][7]).item<double>(), 1e-4);
  }
}

TEST(RunBaselines, RunsSlowMethodsOnFewPromptsAndPositions) {
  const tasks::Prompts prompts = prompts_of(TaskName::linear_regression, PromptKind::standard, 6, 10, 4);
  BaselineOptions options;
  options.predictors = {Method::zero, Method::boosted_trees};
  options.slow_prompts = 2;
  options.slow_examples = {9, 3};
  base::ThreadPool pool(2);
  const std::vector<BaselineErrors> results = run_baselines(options, prompts, pool);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].squared_errors.sizes(), (std::vector<int64_t>{6, 10}));
  EXPECT_TRUE(results[0].squared_errors.equal(prompts.query_ys.to(torch::kFloat64).pow(2)));
  EXPECT_EQ(results[1].squared_errors.sizes(), (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(results[1].examples, (std::vector<int64_t>{3, 9}));
  options.slow_examples = {10};
  EXPECT_THROW(run_baselines(options, prompts, pool), base::Error);
}

}  // namespace
}  // namespace incontext::eval
