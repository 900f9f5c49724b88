#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/config_node.h"

namespace incontext::cli {

struct PeerResult {
  int threads = 0;
  double steps_per_second = 0;
  double peak_memory_bytes = 0;
  std::vector<double> losses;  // of its first steps
};

/// Runs the peer's script for one model, from the weights and on the prompts that lie in `start`
/// (train::write_benchmark_start), and reads its figures.
PeerResult run_peer(const std::string& python, const std::string& script, const std::string& model,
                    const std::filesystem::path& start, int threads, double seconds);

/// Runs this very program with `arguments` and returns the JSON it prints, so that our own figures come from a fresh
/// process as the peer's do.
base::Json run_self(const std::vector<std::string>& arguments);

}  // namespace incontext::cli
