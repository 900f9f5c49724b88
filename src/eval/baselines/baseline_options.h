#pragma once

#include <cstdint>
#include <vector>

#include "base/options.h"

namespace incontext::eval {

/// The methods that make_predictor() knows.
enum class Method {
  zero,
  averaging,
  least_squares,
  ridge,
  lasso,
  nearest_neighbours,
  decision_tree,
  boosted_trees,
  neural_network,
};
constexpr auto names_of(Method) {
  using enum Method;
  return std::to_array<base::EnumName<Method>>({
      {zero, "zero"},
      {averaging, "averaging"},
      {least_squares, "least_squares"},
      {ridge, "ridge"},
      {lasso, "lasso"},
      {nearest_neighbours, "nearest_neighbours"},
      {decision_tree, "decision_tree"},
      {boosted_trees, "boosted_trees"},
      {neural_network, "neural_network"},
  });
}

struct LassoOptions {
  std::vector<double> alphas = {0.01};
  double tolerance = 1e-6;
  int64_t sweeps = 10'000;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("alphas", alphas, "penalties, one predictor each (1 to 0.0001 in Garg et al.)", base::positive());
    v.field("tolerance", tolerance, "duality gap to reach, relative to the mean of y²", base::positive());
    v.field("sweeps", sweeps, "passes over the coordinates after which the solver stops anyway", base::at_least(1));
  }
};

struct BoostingOptions {
  int64_t rounds = 50;
  int64_t depth = 4;
  double learning_rate = 0.1;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("rounds", rounds, "trees", base::at_least(1));
    v.field("depth", depth, "tests from root to leaf", base::between(1, 64));
    v.field("learning_rate", learning_rate, "factor on each tree", base::positive());
  }
};

struct NetworkOptions {
  int64_t hidden = 100;
  int64_t steps = 100;
  double learning_rate = 5e-3;
  uint64_t seed = 0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("hidden", hidden, "hidden units", base::at_least(1));
    v.field("steps", steps, "steps of Adam for every number of examples", base::at_least(0));
    v.field("learning_rate", learning_rate, "step size of Adam", base::positive());
    v.field("seed", seed, "names the initial weights");
  }
};

/// Which classical methods to run beside a model, and how.
struct BaselineOptions {
  std::vector<Method> predictors = {Method::least_squares, Method::nearest_neighbours, Method::averaging};
  double ridge_penalty = 1;
  int64_t neighbours = 3;
  LassoOptions lasso;
  BoostingOptions boosting;
  NetworkOptions network;
  int64_t slow_prompts = 64;
  std::vector<int64_t> slow_examples;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("predictors", predictors, "methods to run");
    v.field("ridge_penalty", ridge_penalty,
            "ridge: penalty on |w|² beside the sum of squared errors; the label noise's variance is optimal for "
            "w ~ N(0, I)",
            base::positive());
    v.field("neighbours", neighbours, "nearest_neighbours: labels to average", base::at_least(1));
    v.group("lasso", lasso, "lasso");
    v.group("boosting", boosting, "boosted_trees");
    v.group("network", network, "neural_network");
    v.field("slow_prompts", slow_prompts, "prompts for the slow methods (trees and network); 0: all",
            base::at_least(0));
    v.field("slow_examples", slow_examples, "numbers of examples at which to run the slow methods; empty: all",
            base::at_least(0));
  }
};

}  // namespace incontext::eval
