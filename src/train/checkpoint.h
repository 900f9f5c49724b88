#pragma once

#include <filesystem>
#include <optional>

#include "train/trainer.h"

namespace incontext::train {

// A run directory holds
//   config.yaml            all options
//   records.jsonl          what was measured
//   checkpoint-<step>/     config.json, model.safetensors: a model folder that opens by itself
//                          trainer_state.safetensors: moments of the optimizer, steps done, size of the records
// A checkpoint is written into a hidden folder and renamed, so that it is whole or not there.

/// Writes checkpoint-<steps done> and returns its path. `records_bytes` is the size of records.jsonl at this step.
std::filesystem::path save_checkpoint(const Trainer& trainer, const std::filesystem::path& run, uint64_t records_bytes);

/// The checkpoint with the most steps, if there is one.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& run);

/// Puts weights, moments and the step back; returns records_bytes. Anything that does not fit is an Error.
uint64_t load_checkpoint(Trainer& trainer, const std::filesystem::path& checkpoint);

/// Puts the weights of training.initial_weights, where it is given, into a trainer that has made no step.
void load_initial_weights(Trainer& trainer);

/// Removes all but the `keep` newest checkpoints, and what a killed run left half-written.
void prune_checkpoints(const std::filesystem::path& run, int64_t keep);

}  // namespace incontext::train
