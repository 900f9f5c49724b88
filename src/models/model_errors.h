#pragma once

#include <functional>

#include "models/decoder.h"
#include "tasks/shifted_prompts.h"
#include "tensor/torch.h"

namespace incontext::models {

/// Draws evaluation prompts first … first + count - 1 of a fixed set.
using DrawPrompts = std::function<tasks::Prompts(int64_t first, int64_t count)>;

/// The model's answers to every question, [batch, points], on the CPU. Questions inside the sequence are answered in
/// one pass; others in one pass per position.
torch::Tensor model_predictions(const Decoder& decoder, const tasks::Prompts& prompts, int64_t loops);

/// Squared errors [prompts, points] over `prompts` prompts, `batch` at a time. `done` is told the number finished.
torch::Tensor model_squared_errors(const Decoder& decoder, const DrawPrompts& draw, int64_t prompts, int64_t batch,
                                   int64_t loops, const std::function<void(int64_t)>& done = {});

/// Squared errors of a looped model after loops 1 … loops at one number of examples, [prompts, loops]; standard prompts
/// only (the questions must be in the sequence).
torch::Tensor squared_errors_by_loop(const Decoder& decoder, const DrawPrompts& draw, int64_t prompts, int64_t batch,
                                     int64_t loops, int64_t examples, const std::function<void(int64_t)>& done = {});

}  // namespace incontext::models
