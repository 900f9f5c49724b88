#pragma once

#include <functional>
#include <string>

#include "base/record.h"
#include "train/trainer.h"

namespace incontext::eval {

/// The quick measurement during training: the model's squared error on training.evaluate_prompts prompts that are never
/// trained on, at task.dims and 2 * task.dims examples and the last point, over the error of predicting zero. Writes
/// one "held_out_error" record each and returns a few words for the progress line. Of a language model it is the loss,
/// "held_out_loss", of as many held-out sequences. Has the signature of train::Evaluate.
std::string measure_held_out(const train::Trainer& trainer, const std::function<void(base::Record)>& write);

}  // namespace incontext::eval
