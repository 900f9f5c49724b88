#pragma once

#include <Eigen/Core>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/threads.h"
#include "eval/baselines/baseline_options.h"
#include "tasks/shifted_prompts.h"
#include "tensor/torch.h"

namespace incontext::eval {

using RowMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// A classical method that learns f from the first i examples of a prompt and answers the question at position i,
/// for every i on its own. With no examples every method predicts 0.
class Predictor {
 public:
  virtual ~Predictor() = default;

  /// Name in tables and plots.
  virtual std::string label() const = 0;

  /// Takes milliseconds, not microseconds, for one question.
  virtual bool slow() const { return false; }

  /// Answers to the questions at `positions`, [batch, positions.size()] f64.
  virtual torch::Tensor predict(const tasks::Prompts& prompts, std::span<const int64_t> positions,
                                base::ThreadPool& pool) const = 0;
};

/// One prompt in plain double precision.
struct PlainPrompt {
  RowMatrix xs;        // [points, dims]
  Eigen::VectorXd ys;  // [points]
  RowMatrix query_xs;  // [points, dims]
};

/// A method that treats prompts one by one; they are spread over the pool.
class PromptwisePredictor : public Predictor {
 public:
  torch::Tensor predict(const tasks::Prompts& prompts, std::span<const int64_t> positions,
                        base::ThreadPool& pool) const final;

 protected:
  /// answers[k] = prediction at positions[k], which are ascending and at least 1.
  virtual void predict_prompt(const PlainPrompt& prompt, std::span<const int64_t> positions,
                              std::span<double> answers) const = 0;
};

/// Of lasso's penalties the first is taken.
std::unique_ptr<Predictor> make_predictor(Method method, const BaselineOptions& options);

/// All methods of the options; lasso once for each penalty.
std::vector<std::unique_ptr<Predictor>> make_predictors(const BaselineOptions& options);

/// How far one method was off.
struct BaselineErrors {
  std::string label;
  std::vector<int64_t> examples;  // numbers of examples seen
  torch::Tensor squared_errors;   // [prompts, examples.size()] f64
};

/// Runs the methods of the options on the prompts; slow methods on as many as the options allow.
std::vector<BaselineErrors> run_baselines(const BaselineOptions& options, const tasks::Prompts& prompts,
                                          base::ThreadPool& pool);

}  // namespace incontext::eval
