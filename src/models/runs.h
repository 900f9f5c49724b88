#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/config_node.h"
#include "models/checkpoint_folders.h"
#include "models/decoder.h"
#include "models/training_precision.h"
#include "tasks/task_options.h"

// Opening what `incontext train` leaves behind: runs, their checkpoints, and model folders of any origin.

namespace incontext::models {

/// What the options of a run say to those who use its model. train::RunOptions has all of them.
struct RunDescription {
  uint64_t seed = 0;
  std::string objective;  // what it was trained for: a name of train::objectives()
  tasks::TaskOptions task;
  TrainingPrecision precision = TrainingPrecision::f32;
  int64_t points = 0;  // examples in a prompt at the end of training
};

/// A folder that a user named, and what was found there.
struct RunFolder {
  std::filesystem::path directory;    // as named: a run, one of its checkpoints, or a model folder
  std::filesystem::path checkpoint;   // the folder of the model
  int64_t step = 0;                   // of the checkpoint; 0 for a model folder
  std::optional<RunDescription> run;  // absent where nothing says how the model was trained
};

/// config.yaml of a run directory.
base::ConfigNode read_run_config(const std::filesystem::path& run);

/// Finds the model of a run directory (its latest checkpoint), of a checkpoint, or of a model folder. An Error where
/// there is none.
RunFolder find_run(const std::filesystem::path& directory);

/// A decoder with trainable weights, in fp32, from a model folder: one of ours or of a language-model family.
Decoder open_decoder(const std::filesystem::path& folder, torch::Device device);

/// Replaces the values of a decoder's parameters by those of such a folder, which must hold the same ones.
void load_weights(Decoder& decoder, const std::filesystem::path& folder);

}  // namespace incontext::models
