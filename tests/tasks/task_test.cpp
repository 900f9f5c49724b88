#include "tasks/task.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "support/close.h"
#include "tasks/values.h"

namespace incontext::tasks {
namespace {

using testing::Tolerance;

TaskOptions named(TaskName name) {
  TaskOptions options;
  options.name = name;
  return options;
}

void expect_same(const Batch& actual, const Batch& expected) {
  const torch::Tensor xs = expected.xs.contiguous(), ys = expected.ys.contiguous();
  EXPECT_CLOSE(values(actual.xs.contiguous()), values(xs), testing::exact());
  EXPECT_CLOSE(values(actual.ys.contiguous()), values(ys), testing::exact());
}

std::vector<TaskName> function_classes() {
  std::vector<TaskName> names;
  for (const TaskName name : base::values_of<TaskName>()) {
    if (name != TaskName::text) names.push_back(name);
  }
  return names;
}

class EveryTask : public ::testing::TestWithParam<TaskName> {};
INSTANTIATE_TEST_SUITE_P(Names, EveryTask, ::testing::ValuesIn(function_classes()),
                         [](const auto& instance) { return std::string(base::name_of(instance.param)); });

TEST_P(EveryTask, FewerPointsAreTheBeginning) {
  const auto task = make_task(named(GetParam()));
  const Batch full = task->sample({.seed = 3, .batch = 3, .points = 41, .active_dims = 7});
  const Batch part = task->sample({.seed = 3, .batch = 3, .points = 11, .active_dims = 7});
  expect_same(part, {full.xs.narrow(1, 0, 11), full.ys.narrow(1, 0, 11)});
}

TEST_P(EveryTask, BatchBoundariesAndThreadsDoNotMatter) {
  const auto task = make_task(named(GetParam()));
  const Draw whole{.seed = 3, .first_index = 10, .batch = 9, .points = 12};
  const Batch expected = task->sample(whole);
  base::ThreadPool pool(3);
  expect_same(task->sample(whole, &pool), expected);
  for (int64_t i = 0; i < 9; ++i) {
    const Batch single =
        task->sample({.seed = 3, .first_index = 10 + static_cast<uint64_t>(i), .batch = 1, .points = 12});
    expect_same(single, {expected.xs.narrow(0, i, 1), expected.ys.narrow(0, i, 1)});
  }
}

TEST_P(EveryTask, SeedsAndPurposesAreUnrelated) {
  const auto task = make_task(named(GetParam()));
  const auto draw = [&](uint64_t seed, const char* purpose) {
    return task->sample({.seed = seed, .purpose = purpose, .batch = 4000, .points = 1});
  };
  const auto correlation = [](const torch::Tensor& a, const torch::Tensor& b) {
    return std::abs(((a * b).mean() / (a.pow(2).mean() * b.pow(2).mean()).sqrt()).item<double>());
  };
  const Batch base = draw(1, "train");
  for (const Batch& other : {draw(2, "train"), draw(1, "eval")}) {
    EXPECT_LT(correlation(base.xs, other.xs), 5 / std::sqrt(80'000.0));
    EXPECT_LT(correlation(base.ys, other.ys), 0.15)
        << "heavy tails allowed for, 5 standard errors of a normal are 0.08";
  }
}

TEST_P(EveryTask, InactiveDimensionsAreZeroAndActiveOnesAreTheSame) {
  const auto task = make_task(named(GetParam()));
  const Draw draw{.seed = 5, .batch = 4, .points = 6};
  Draw truncated = draw;
  truncated.active_dims = 5;
  const Batch full = task->sample(draw);
  const Batch part = task->sample(truncated);
  EXPECT_EQ(part.xs.narrow(2, 5, 15).abs().max().item<float>(), 0);
  const torch::Tensor actual = part.xs.narrow(2, 0, 5).contiguous(), expected = full.xs.narrow(2, 0, 5).contiguous();
  EXPECT_CLOSE(values(actual), values(expected), testing::exact());
}

TEST_P(EveryTask, PredictingZeroScoresOne) {
  for (const double condition_number : {1.0, 30.0}) {
    for (const int64_t active : {5, 20}) {
      TaskOptions options = named(GetParam());
      options.noise = 0;
      options.condition_number = condition_number;
      options.input_scale = 0.7;
      const auto task = make_task(options);
      base::ThreadPool pool(2);
      const Batch batch = task->sample({.seed = 9, .batch = 20'000, .points = 4, .active_dims = active}, &pool);
      const double score = batch.ys.to(torch::kFloat64).pow(2).mean().item<double>() / task->normalisation(active);
      // Prompts are independent and the y² of the sparse and quadratic classes have a relative spread of about 4.
      EXPECT_NEAR(score, 1, 0.1) << "condition number " << condition_number << ", active dims " << active;
    }
  }
}

TEST(Task, NormalisationIsThatOfThePapers) {
  using enum TaskName;
  const std::map<TaskName, double> expected{{linear_regression, 20},
                                            {noisy_linear_regression, 20},
                                            {sparse_linear_regression, 3},
                                            {quadratic_regression, 20},
                                            {decision_tree, 1},
                                            {relu_network, 20}};
  for (const TaskName name : function_classes()) {
    EXPECT_DOUBLE_EQ(make_task(named(name))->normalisation(), expected.at(name)) << base::name_of(name);
  }
}

/// Solves for w from noise-free prompts of linear functions, x [points >= dims].
torch::Tensor recover(const Batch& batch) {
  const torch::Tensor x = batch.xs.to(torch::kFloat64);
  const torch::Tensor xt = x.transpose(1, 2);
  return torch::linalg_inv(xt.matmul(x)).matmul(xt).matmul(batch.ys.to(torch::kFloat64).unsqueeze(2)).squeeze(2);
}

TEST(LinearRegression, LeastSquaresRecoversTheWeights) {
  const auto task = make_task(named(TaskName::linear_regression));
  const Draw draw{.seed = 1, .batch = 50, .points = 40};
  const torch::Tensor found = recover(task->sample(draw)).to(torch::kFloat32).contiguous();
  EXPECT_CLOSE(values(found), values(task->sample_functions(draw)), (Tolerance{.absolute = 1e-4}));
  EXPECT_NEAR(found.var().item<double>(), 1, 0.25);
}

TEST(SparseLinearRegression, HasExactlySoManyWeightsAmongTheActive) {
  const auto task = make_task(named(TaskName::sparse_linear_regression));
  const Draw draw{.seed = 1, .batch = 300, .points = 10, .active_dims = 5};
  const torch::Tensor weights = task->sample_functions(draw);
  const torch::Tensor count = (weights != 0).sum(1);
  EXPECT_EQ(count.min().item<int64_t>(), 3);
  EXPECT_EQ(count.max().item<int64_t>(), 3);
  EXPECT_EQ(weights.narrow(1, 5, 15).abs().max().item<float>(), 0);
  const torch::Tensor share = (weights != 0).to(torch::kFloat64).mean(0);
  for (int64_t j = 0; j < 5; ++j) EXPECT_NEAR(share[j].item<double>(), 0.6, 0.15);
  const Batch batch = task->sample(draw);
  const torch::Tensor found = recover({batch.xs.narrow(2, 0, 5), batch.ys}).to(torch::kFloat32).contiguous();
  const torch::Tensor active = weights.narrow(1, 0, 5).contiguous();
  EXPECT_CLOSE(values(found), values(active), (Tolerance{.absolute = 1e-3}));
}

TEST(QuadraticRegression, IsLinearInTheSquares) {
  const auto task = make_task(named(TaskName::quadratic_regression));
  const Draw draw{.seed = 1, .batch = 20, .points = 60};
  const Batch batch = task->sample(draw);
  const torch::Tensor found = recover({batch.xs.pow(2) / std::sqrt(3.0), batch.ys}).to(torch::kFloat32).contiguous();
  EXPECT_CLOSE(values(found), values(task->sample_functions(draw)), (Tolerance{.absolute = 1e-3}));
}

TEST(DecisionTree, HasAtMostOneValuePerLeafAndTestsSignsOnly) {
  TaskOptions options = named(TaskName::decision_tree);
  options.depth = 3;
  const auto task = make_task(options);
  const Draw draw{.seed = 1, .batch = 40, .points = 400};
  const Batch batch = task->sample(draw);
  const torch::Tensor trees = task->sample_functions(draw);
  size_t most = 0;
  for (int64_t i = 0; i < 40; ++i) {
    std::set<float> seen;
    for (int64_t p = 0; p < 400; ++p) seen.insert(batch.ys[i][p].item<float>());
    EXPECT_LE(seen.size(), 8U);
    most = std::max(most, seen.size());
    const auto tree = trees.accessor<float, 2>()[i];
    const auto x = batch.xs.accessor<float, 3>()[i];
    for (int64_t p = 0; p < 20; ++p) {  // walk down by hand: levels have 1, 2 and 4 tests, leaves begin at 7
      const auto test = [&](int64_t node) { return x[p][static_cast<int64_t>(tree[node])] > 0 ? 1 : 0; };
      const int64_t a = test(0), b = test(1 + a), c = test(3 + 2 * a + b);
      EXPECT_EQ(batch.ys[i][p].item<float>(), tree[7 + 4 * a + 2 * b + c]);
    }
  }
  EXPECT_EQ(most, 8U);
}

TEST(ReluNetwork, IsTheFormula) {
  TaskOptions options = named(TaskName::relu_network);
  options.hidden = 7;
  const auto task = make_task(options);
  const Draw draw{.seed = 1, .batch = 5, .points = 9, .active_dims = 6};
  const Batch batch = task->sample(draw);
  const torch::Tensor parameters = task->sample_functions(draw);
  const torch::Tensor outer = parameters.narrow(1, 0, 7).unsqueeze(2);
  const torch::Tensor inner = parameters.narrow(1, 7, 140).view({5, 20, 7});
  const torch::Tensor expected =
      (torch::relu(batch.xs.matmul(inner)).matmul(outer).squeeze(2) * std::sqrt(2.0 / 7)).contiguous();
  EXPECT_CLOSE(values(batch.ys), values(expected), testing::accumulated(testing::kEpsilonF32, 42, 100));
}

TEST(NoisyLinearRegression, AddsNoiseOfTheGivenSize) {
  TaskOptions options = named(TaskName::noisy_linear_regression);
  options.noise = 0.5;
  const auto noisy = make_task(options);
  options.renormalise = true;
  const auto scaled = make_task(options);
  const auto clean = make_task(named(TaskName::linear_regression));
  const Draw draw{.seed = 1, .batch = 1000, .points = 20, .active_dims = 10};
  const torch::Tensor noise = noisy->sample(draw).ys - clean->sample(draw).ys;
  EXPECT_NEAR(noise.std().item<double>(), 0.5, 0.015);
  EXPECT_NEAR(noise.mean().item<double>(), 0, 0.02);
  const torch::Tensor expected = (noisy->sample(draw).ys * std::sqrt(10 / 10.25)).contiguous();
  EXPECT_CLOSE(values(scaled->sample(draw).ys), values(expected), (Tolerance{.absolute = 1e-5}));
}

TEST(Inputs, HaveTheConditionNumberAndAFixedEigenbasis) {
  TaskOptions options;
  options.dims = 6;
  options.condition_number = 100;
  options.input_scale = 2;
  const auto covariance = [&](uint64_t seed) {
    const Batch batch = make_task(options)->sample({.seed = seed, .batch = 4000, .points = 50});
    const torch::Tensor x = batch.xs.view({-1, 6}).to(torch::kFloat64);
    return x.t().matmul(x) / static_cast<double>(x.size(0));
  };
  const torch::Tensor first = covariance(1);
  const torch::Tensor eigenvalues = torch::linalg_eigvalsh(first);
  for (int64_t k = 0; k < 6; ++k) {
    const double expected = 4 * std::pow(100.0, -static_cast<double>(5 - k) / 5);
    EXPECT_NEAR(eigenvalues[k].item<double>() / expected, 1, 0.03) << k;
  }
  EXPECT_LT((first - covariance(2)).abs().max().item<double>(), 0.1) << "seeds of data share the task's eigenbasis";
  options.rotation_seed = 1;
  EXPECT_GT((first - covariance(1)).abs().max().item<double>(), 0.3);
}

TEST(Task, ErrorsSayWhatWasExpected) {
  const auto message = [](auto&& action) -> std::string {
    try {
      action();
    } catch (const base::Error& error) {
      return error.what();
    }
    return "no error";
  };
  TaskOptions text = named(TaskName::text);
  text.text.files = {"book.txt"};
  EXPECT_EQ(message([&] { make_task(text); }), "[task] expected a function class, got text");
  TaskOptions options = named(TaskName::sparse_linear_regression);
  options.dims = 2;
  EXPECT_EQ(message([&] { make_task(options); }), "[task] nonzeros: expected at most dims = 2, got 3");
  const auto task = make_task(named(TaskName::decision_tree));
  EXPECT_EQ(message([&] { task->sample({.active_dims = 21}); }),
            "[task] expected active_dims from 1 to dims = 20, got 21");
  EXPECT_NE(message([&] {
              base::read_options(base::parse_yaml("name: decision_trea", "a.yaml"), options);
            }).find("did you mean 'decision_tree'?"),
            std::string::npos);
}

}  // namespace
}  // namespace incontext::tasks
