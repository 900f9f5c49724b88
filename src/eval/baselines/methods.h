#pragma once

#include <memory>

#include "eval/baselines/predictor.h"

// One maker per method; make_predictor() is the table over them.

namespace incontext::eval {

/// w of least Euclidean norm among those of least squared error.
std::unique_ptr<Predictor> make_least_squares(const BaselineOptions& options);

/// argmin |y - X w|² + penalty |w|².
std::unique_ptr<Predictor> make_ridge(const BaselineOptions& options);

/// w = mean of x y: one step of gradient descent from zero, and consistent for isotropic inputs.
std::unique_ptr<Predictor> make_averaging(const BaselineOptions& options);

/// Mean label of the examples nearest in Euclidean distance (earlier ones on ties); of all while they are fewer.
std::unique_ptr<Predictor> make_nearest_neighbours(const BaselineOptions& options);

/// Lasso without intercept, for the first of the penalties.
std::unique_ptr<Predictor> make_lasso(const BaselineOptions& options);

/// One regression tree grown greedily by exact search (XGBoost) until its leaves are pure or splitting gains nothing:
/// one round, learning rate 1, no regularisation, no limit on depth or leaf size.
std::unique_ptr<Predictor> make_decision_tree(const BaselineOptions& options);

/// Gradient boosted regression trees (XGBoost, its default regularisation, starting from the mean label).
std::unique_ptr<Predictor> make_boosted_trees(const BaselineOptions& options);

/// A ReLU network with one hidden layer and biases, trained by full-batch Adam on the mean squared error anew for
/// every number of examples. All prompts start from the same weights, uniform within 1/sqrt(fan-in).
std::unique_ptr<Predictor> make_neural_network(const BaselineOptions& options);

}  // namespace incontext::eval
