#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace incontext::models {

// A run directory holds
//   config.yaml            all options
//   records.jsonl          what was measured
//   checkpoint-<step>/     config.json, model.safetensors: a model folder that opens by itself, and what else the
//                          run's objective owns
//                          trainer_state.safetensors: moments of the optimizer, steps done, size of the records
// A checkpoint is written into a hidden folder and renamed, so that it is whole or not there.

inline constexpr const char* kCheckpointPrefix = "checkpoint-";
inline constexpr const char* kPartialPrefix = ".partial-checkpoint-";
inline constexpr const char* kTrainerStateFile = "trainer_state.safetensors";

/// The checkpoint with the most steps, if there is one.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& run);

/// The steps that the name of a checkpoint tells; 0 for any other folder.
int64_t step_of_checkpoint(const std::filesystem::path& folder);

/// The folder itself where it is a model folder, otherwise the latest checkpoint of the run that it is. A folder that
/// is neither comes back as it is.
std::filesystem::path model_folder_of(const std::filesystem::path& folder);

/// Removes all but the `keep` newest checkpoints, and what a killed run left half-written.
void prune_checkpoints(const std::filesystem::path& run, int64_t keep);

}  // namespace incontext::models
