#include "eval/baselines/predictor.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "eval/baselines/methods.h"

namespace incontext::eval {
namespace {

class Zero final : public Predictor {
 public:
  std::string label() const override { return "zero"; }
  torch::Tensor predict(const tasks::Prompts& prompts, std::span<const int64_t> positions,
                        base::ThreadPool&) const override {
    return torch::zeros({prompts.xs.size(0), static_cast<int64_t>(positions.size())}, torch::kFloat64);
  }
};

std::unique_ptr<Predictor> make_zero(const BaselineOptions&) { return std::make_unique<Zero>(); }

RowMatrix to_matrix(const float* data, int64_t rows, int64_t columns) {
  using Floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  return Eigen::Map<const Floats>(data, rows, columns).cast<double>();
}

PlainPrompt plain_prompt(const tasks::Prompts& prompts, int64_t index) {
  const int64_t points = prompts.xs.size(1), dims = prompts.xs.size(2);
  const auto* xs = prompts.xs.data_ptr<float>() + index * points * dims;
  const auto* ys = prompts.ys.data_ptr<float>() + index * points;
  const auto* query_xs = prompts.query_xs.data_ptr<float>() + index * points * dims;
  return {to_matrix(xs, points, dims), to_matrix(ys, points, 1), to_matrix(query_xs, points, dims)};
}

tasks::Prompts first_prompts(const tasks::Prompts& prompts, int64_t count) {
  const auto first = [&](const torch::Tensor& tensor) { return tensor.narrow(0, 0, count).contiguous(); };
  return {first(prompts.xs), first(prompts.ys), first(prompts.query_xs), first(prompts.query_ys),
          prompts.query_in_sequence};
}

}  // namespace

std::unique_ptr<Predictor> make_predictor(Method method, const BaselineOptions& options) {
  switch (method) {
    case Method::zero:
      return make_zero(options);
    case Method::averaging:
      return make_averaging(options);
    case Method::least_squares:
      return make_least_squares(options);
    case Method::ridge:
      return make_ridge(options);
    case Method::lasso:
      return make_lasso(options);
    case Method::nearest_neighbours:
      return make_nearest_neighbours(options);
    case Method::decision_tree:
      return make_decision_tree(options);
    case Method::boosted_trees:
      return make_boosted_trees(options);
    case Method::neural_network:
      return make_neural_network(options);
  }
  INCONTEXT_ASSERT(false);
  return nullptr;
}

std::vector<std::unique_ptr<Predictor>> make_predictors(const BaselineOptions& options) {
  std::vector<std::unique_ptr<Predictor>> predictors;
  for (const Method method : options.predictors) {
    if (method != Method::lasso) {
      predictors.push_back(make_predictor(method, options));
      continue;
    }
    for (const double alpha : options.lasso.alphas) {
      BaselineOptions one = options;
      one.lasso.alphas = {alpha};
      predictors.push_back(make_predictor(method, one));
    }
  }
  return predictors;
}

torch::Tensor PromptwisePredictor::predict(const tasks::Prompts& given, std::span<const int64_t> positions,
                                           base::ThreadPool& pool) const {
  const int64_t batch = given.xs.size(0);
  const tasks::Prompts prompts = first_prompts(given, batch);  // contiguous
  const auto count = static_cast<int64_t>(positions.size());
  INCONTEXT_ASSERT(std::is_sorted(positions.begin(), positions.end()));
  torch::Tensor answers = torch::zeros({batch, count}, torch::kFloat64);
  auto* const data = answers.data_ptr<double>();
  const auto without_examples = static_cast<size_t>(std::count(positions.begin(), positions.end(), 0));
  const std::span<const int64_t> asked = positions.subspan(without_examples);
  pool.run(batch, [&](int64_t i, int) {
    predict_prompt(plain_prompt(prompts, i), asked, {data + i * count + without_examples, asked.size()});
  });
  return answers;
}

std::vector<BaselineErrors> run_baselines(const BaselineOptions& options, const tasks::Prompts& prompts,
                                          base::ThreadPool& pool) {
  const int64_t batch = prompts.xs.size(0), points = prompts.xs.size(1);
  std::vector<int64_t> all(static_cast<size_t>(points));
  std::iota(all.begin(), all.end(), 0);
  std::vector<int64_t> few = options.slow_examples.empty() ? all : options.slow_examples;
  std::sort(few.begin(), few.end());
  few.erase(std::unique(few.begin(), few.end()), few.end());
  base::check(few.empty() || (few.front() >= 0 && few.back() < points),
              "[baselines] slow_examples: expected numbers from 0 to {}, got {}", points - 1,
              few.empty() ? 0 : (few.front() < 0 ? few.front() : few.back()));
  const int64_t few_prompts = options.slow_prompts == 0 ? batch : std::min(batch, options.slow_prompts);
  std::vector<BaselineErrors> results;
  for (const auto& predictor : make_predictors(options)) {
    const tasks::Prompts asked = first_prompts(prompts, predictor->slow() ? few_prompts : batch);
    const std::vector<int64_t>& examples = predictor->slow() ? few : all;
    const torch::Tensor answers = predictor->predict(asked, examples, pool);
    const torch::Tensor truth = asked.query_ys.index_select(1, torch::tensor(examples, torch::kInt64));
    results.push_back({predictor->label(), examples, (answers - truth.to(torch::kFloat64)).pow(2)});
  }
  return results;
}

}  // namespace incontext::eval
