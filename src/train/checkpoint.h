#pragma once

#include <filesystem>

#include "models/checkpoint_folders.h"
#include "train/trainer.h"

namespace incontext::train {

/// Writes checkpoint-<steps done> and returns its path. `records_bytes` is the size of records.jsonl at this step.
std::filesystem::path save_checkpoint(const Trainer& trainer, const std::filesystem::path& run, uint64_t records_bytes);

/// Puts back what the objective owns, the moments and the step; returns records_bytes. Anything that does not fit is an
/// Error.
uint64_t load_checkpoint(Trainer& trainer, const std::filesystem::path& checkpoint);

/// Puts the weights of training.initial_weights, where it is given, into a trainer that has made no step.
void load_initial_weights(Trainer& trainer);

}  // namespace incontext::train
