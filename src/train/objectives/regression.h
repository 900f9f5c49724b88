#pragma once

#include "models/prompt_model.h"
#include "tasks/task.h"
#include "train/objectives/objective.h"

namespace incontext::train {

/// "regression": the mean squared error at every example of prompts from a function class.
ObjectiveKind regression_objective();

/// Of regression_objective(): an objective on the same prompts can take them too.
void resolve_regression(RunOptions& options);
std::string regression_problem(const RunOptions& options);

/// The prompts behind training samples first … first + count - 1.
tasks::Draw training_prompts(const RunOptions& options, uint64_t first, int64_t count, const Stage& stage);

/// What the looped objective sees of a loop budget b: the loss averages the last T loops, and the loops before them run
/// without gradient (truncated back-propagation; Yang et al. 2024, section 4).
models::LoopRange loop_range(int64_t budget, int64_t window);

/// Mean over batch, points and read loops of (y_i - prediction_i)².
torch::Tensor squared_error_objective(const models::Decoder& decoder, const tasks::Batch& batch,
                                      const models::LoopRange& loops);

}  // namespace incontext::train
