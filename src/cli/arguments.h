#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/generation_flags.h"
#include "cli/shared_flags.h"
#include "decode/engine_options.h"
#include "eval/cache/options.h"
#include "serve/server.h"
#include "train/benchmark_models.h"

namespace incontext::cli {

// What the flags of each command that computes are parsed into.

struct TrainArguments {
  std::string config;
  std::string out;
  std::vector<std::string> assignments;
  bool resume = false;
  bool json = false;
  bool quiet = false;
  bool list_options = false;
  ComputeFlags compute;
};

struct EvalArguments {
  std::vector<std::string> directories;
  std::string config;
  std::vector<std::string> assignments;
  std::string task;
  std::vector<std::string> task_assignments;
  eval::CacheEvaluationOptions caches;  // measured if there are policies
  std::string out = "runs/cache-eval";
  std::string budget;
  double loss = 0;  // 0: none is asked for
  bool json = false;
  bool quiet = false;
  bool list_options = false;
  ComputeFlags compute;
};

struct GenerateArguments {
  GenerationFlags generation;
  std::string prompt, file;
  bool chat = false;
  bool json = false;
  bool quiet = false;
};

struct ChatArguments {
  GenerationFlags generation;
  std::string system;
  ChatArguments() { generation.max_tokens = 1024; }
};

struct ServeArguments {
  std::string model;
  std::vector<std::string> names;
  std::vector<std::string> caches;  // policies; none: full
  std::string key_file;
  double timeout = 600;
  bool download = false;
  ComputeFlags compute;
  decode::EngineOptions engine;
  serve::ServerOptions server;
};

struct CalibrateLexicoArguments {
  std::string model;
  std::vector<std::string> texts;
  std::string out;
  std::vector<std::string> named;  // options with a flag of their own, as assignments
  std::vector<std::string> assignments;
  bool list_options = false;
  bool download = false;
  bool json = false;
  bool quiet = false;
  ComputeFlags compute;
};

struct BenchTrainArguments {
  std::vector<std::string> models = train::benchmark_models();
  double seconds = 10;
  std::string python = "/usr/bin/python3";
  std::string peer = "bench/peer_pytorch.py";
  bool json = false;
  ComputeFlags compute;
};

struct BenchDecodeArguments {
  std::string model;
  std::vector<int64_t> depths = {0, 4096, 16384};
  int64_t tokens = 24;
  int64_t prefill = 2048;
  std::vector<std::string> caches = {"full"};
  bool json = false;
  ComputeFlags compute;
};

}  // namespace incontext::cli
