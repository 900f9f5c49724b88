#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace incontext::train {

// A run directory holds
//   config.yaml            all options
//   records.jsonl          what was measured
//   checkpoint-<step>/     config.json, model.safetensors: a model folder that opens by itself
//                          trainer_state.safetensors: moments of the optimizer, steps done, size of the records
// A checkpoint is written into a hidden folder and renamed, so that it is whole or not there.

inline constexpr const char* kCheckpointPrefix = "checkpoint-";
inline constexpr const char* kPartialPrefix = ".partial-checkpoint-";

/// The checkpoint with the most steps, if there is one.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& run);

/// Removes all but the `keep` newest checkpoints, and what a killed run left half-written.
void prune_checkpoints(const std::filesystem::path& run, int64_t keep);

}  // namespace incontext::train
