#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/shared_flags.h"

namespace incontext::decode {
struct GenerationRequest;
struct OpenedModel;
}  // namespace incontext::decode

namespace incontext::cli {

/// The flags of commands that continue text. What is not given comes from the model's generation_config.json.
struct GenerationFlags {
  std::string model;
  int64_t max_tokens = 128;
  std::optional<double> temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int64_t> top_k;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  std::string cache = "full";
  std::string save_cache, load_cache;  // files, or empty
  bool download = false;
  ComputeFlags compute;

  void add_to(CLI::App& command);
  /// The folder of the model: itself, or from the cache of Hugging Face downloads.
  std::filesystem::path folder(bool quiet) const;
  /// A request without its prompt; in the program that computes (runtime.cpp).
  decode::GenerationRequest request(const decode::OpenedModel& opened) const;
};

}  // namespace incontext::cli
