#pragma once

#include <functional>
#include <string>

#include "eval/evaluate.h"
#include "tasks/packed_text.h"

namespace incontext::eval {

/// Measures a language model on held-out text: "held_out_loss" (nats per token), "perplexity" and "bits_per_byte" with
/// bootstrap intervals over sequences, and "token_loss" by the token's position in its sequence, in groups of positions
/// that double in size: how the model profits from context. Options of function classes have no effect.
void evaluate_text(const Subject& subject, const tasks::PackedText& text, const EvaluationOptions& options,
                   const std::function<void(base::Record)>& write,
                   const std::function<void(const std::string& what, double done)>& progress);

}  // namespace incontext::eval
