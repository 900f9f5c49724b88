#pragma once

#include <filesystem>
#include <string>

#include "train/trainer.h"

namespace incontext::train {

/// Where a run lives and how it was started.
struct RunPlace {
  std::filesystem::path directory = {};
  bool resume = false;
  std::string command = {};  // what the user typed
  bool quiet = false;        // no progress line
};

struct RunResult {
  int64_t steps_done = 0;
  int64_t first_step = 0;  // steps that were done before, when resumed
  double last_loss = 0;    // mean over the last log interval
  double seconds = 0;      // of the steps made now
  bool stopped = false;    // by a signal, before the end
  int exit_status = 0;     // 0, or 128 + the signal
  std::filesystem::path checkpoint;
};

/// Reads config.yaml of a run.
RunOptions read_run_options(const std::filesystem::path& run);

/// Trains until training.steps, writing config.yaml, records and checkpoints, and evaluating the objective. SIGINT and
/// SIGTERM end it after the current step with a checkpoint. With place.resume an interrupted run goes on from its last
/// checkpoint, and gives the same numbers as one that was never interrupted; its options must be the same but for steps
/// and the logging and checkpoint intervals. A directory that holds anything is otherwise an Error. Diverged names the
/// step and the last good checkpoint.
RunResult run_training(const RunOptions& options, const RunPlace& place, torch::Device device,
                       const ops::Settings& operations);

}  // namespace incontext::train
