#include "cli/peer.h"

#include "base/error.h"
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

PeerResult run_peer(const std::string& python, const std::string& script, const std::string& model,
                    const std::filesystem::path& start, int threads, double seconds) {
  const base::Json json = run_and_parse({python, script, "--models", model, "--threads", std::to_string(threads),
                                         "--seconds", fmt::format("{}", seconds), "--weights", start.string(),
                                         "--prompts", (start / "prompts.safetensors").string(), "--json"});
  const base::Json& row = json.at("results").at(0);
  return {threads, row.at("steps_per_second").get<double>(), row.at("peak_memory_bytes").get<double>(),
          row.at("losses").get<std::vector<double>>()};
}

base::Json run_self(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"/proc/self/exe"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return run_and_parse(all);
}

}  // namespace incontext::cli
