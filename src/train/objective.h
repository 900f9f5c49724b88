#pragma once

#include <torch/torch.h>

#include "models/prompt_model.h"
#include "tasks/task.h"

namespace incontext::train {

/// What the looped objective sees of a loop budget b: the loss averages the last T loops, and the loops before them run
/// without gradient (truncated back-propagation; Yang et al. 2024, section 4).
models::LoopRange loop_range(int64_t budget, int64_t window);

/// Mean over batch, points and read loops of (y_i - prediction_i)².
torch::Tensor squared_error_objective(const models::Decoder& decoder, const tasks::Batch& batch,
                                      const models::LoopRange& loops);

}  // namespace incontext::train
