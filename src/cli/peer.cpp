#include "cli/peer.h"

#include "base/error.h"
#include "base/machine.h"
#include "base/process.h"
#include "base/text.h"

namespace incontext::cli {
namespace {

base::Json run_and_parse(const std::vector<std::string>& arguments) {
  const base::ProcessResult result = base::run_process(arguments);
  const auto lines = base::split(base::trim(result.errors), '\n');
  base::check(result.exit_status == 0, "{} failed with status {}: {}", fmt::join(arguments, " "), result.exit_status,
              lines.back());
  try {
    return base::Json::parse(result.output);
  } catch (const base::Json::exception& error) {
    base::fail("{}: expected one JSON object: {}", fmt::join(arguments, " "), error.what());
  }
}

}  // namespace

PeerResult run_peer(const PeerCall& call) {
  std::vector<std::string> arguments = {call.python,   call.script,
                                        "--models",    call.model,
                                        "--threads",   std::to_string(call.threads),
                                        "--seconds",   fmt::format("{}", call.seconds),
                                        "--weights",   call.start.string(),
                                        "--prompts",   (call.start / "prompts.safetensors").string(),
                                        "--device",    call.device,
                                        "--precision", call.precision,
                                        "--json"};
  if (!call.blas_core.empty()) arguments.insert(arguments.end(), {"--blas-core", call.blas_core});
  if (!call.variant.empty()) arguments.insert(arguments.end(), {"--variant", call.variant});
  const base::Json json = run_and_parse(arguments);
  const base::Json& row = json.at("results").at(0);
  return {row.at("steps_per_second").get<double>(), row.at("peak_memory_bytes").get<double>(),
          row.at("losses").get<std::vector<double>>(), row.at("torch").get<std::string>()};
}

std::string torch_version(const std::string& python) {
  const base::ProcessResult result = base::run_process({python, "-c", "import torch; print(torch.__version__)"});
  base::check(result.exit_status == 0, "--python: {} has no torch: {}", python,
              base::split(base::trim(result.errors), '\n').back());
  return std::string(base::trim(result.output));
}

PeerCall best_way_of_peer(const PeerCall& call) {
  if (call.device != "cpu") return call;
  PeerCall best = call;
  const PeerResult first = run_peer(call);
  double highest = first.steps_per_second;
  const auto try_with = [&](const PeerCall& other) {
    const double speed = run_peer(other).steps_per_second;
    if (speed <= highest) return;
    highest = speed;
    best = other;
  };
  PeerCall other = call;
  if (!first.torch.starts_with("1.")) {
    other.variant = "fused_attention";
    try_with(other);
  }
  other = best;
  if (base::best_instruction_set().starts_with("avx512")) {
    other.blas_core = "SkylakeX";
    try_with(other);
  }
  if (call.threads > 1) {
    other = best;
    other.threads = 1;
    try_with(other);
  }
  return best;
}

base::Json run_self(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"/proc/self/exe"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return run_and_parse(all);
}

}  // namespace incontext::cli
