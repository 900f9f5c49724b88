#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/config_node.h"

namespace incontext::cli {

/// How the peer is run.
struct PeerCall {
  std::string python;
  std::string script;
  std::string model;
  std::filesystem::path start;  // weights and prompts (train::write_benchmark_start)
  int threads = 1;
  double seconds = 0;
  std::string device = "cpu";
  std::string blas_core = {};     // OpenBLAS's kernels for a processor of this name; empty: its own choice
  std::string precision = "f32";  // of matrix products, as ours: f32, tf32 or bf16
  std::string variant = {};       // another idiom of the script; empty: none
};

struct PeerResult {
  double steps_per_second = 0;
  double peak_memory_bytes = 0;
  std::vector<double> losses;  // of its first steps
  std::string torch;           // its version
};

/// Runs the peer's script for one model and reads its figures.
PeerResult run_peer(const PeerCall& call);

/// The version of PyTorch that a Python has; an Error where it has none.
std::string torch_version(const std::string& python);

/// The fastest of the ways in which the peer can compute on this machine: on a processor with one thread and with all
/// of `call.threads`, with OpenBLAS's own choice of kernels and, where the processor has AVX-512, with those for it,
/// and from PyTorch 2 on with attention as one operation of its own.
PeerCall best_way_of_peer(const PeerCall& call);

/// Runs this very program with `arguments` and returns the JSON it prints, so that our own figures come from a fresh
/// process as the peer's do.
base::Json run_self(const std::vector<std::string>& arguments);

}  // namespace incontext::cli
