#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "train/benchmark_models.h"
#include "train/trainer.h"

namespace incontext::train {

/// What trains one of benchmark_models().
RunOptions benchmark_options(const std::string& model);

/// Floating-point operations of one training step's matrix products and attention, forward and backward: 2 per
/// multiply-add; causal attention counts only what is below the diagonal; the backward pass counts twice the forward.
double step_flops(const RunOptions& options);

struct BenchmarkResult {
  std::vector<double> step_seconds;
  std::vector<double> losses;  // of the first steps, warm-up included
};

/// Lays down where a benchmark model begins, for a peer to begin there too: model.safetensors with the initial weights,
/// and prompts.safetensors with the prompts of the first `steps` steps, xs [steps, batch, points, dims] and ys [steps,
/// batch, points].
void write_benchmark_start(const std::string& model, int64_t steps, const std::filesystem::path& folder);

/// Runs warm-up steps, then steps until `seconds` have passed and at least `least_steps` are made.
BenchmarkResult measure_steps(Trainer& trainer, double seconds, int64_t least_steps);

}  // namespace incontext::train
