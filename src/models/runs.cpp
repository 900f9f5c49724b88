#include "models/runs.h"

#include "base/error.h"
#include "base/options.h"
#include "base/text.h"
#include "models/checkpoint.h"
#include "models/families.h"
#include "models/json_fields.h"
#include "models/language_folder.h"
#include "models/weight_files.h"

namespace incontext::models {
namespace {

namespace fs = std::filesystem;
using base::Json;

RunDescription describe(const base::ConfigNode& config) {
  RunDescription run;
  base::read_option(config, "seed", run.seed);
  if (const base::ConfigNode* task = base::find_option(config, "task")) base::read_options(*task, run.task, "task.");
  base::read_option(config, "training.precision", run.precision);
  base::read_option(config, "training.curriculum.points.end", run.points);
  // A plain name, or a group that has one.
  const base::ConfigNode* objective = config.find("objective");
  const bool group = objective != nullptr && objective->kind == base::ConfigNode::Kind::mapping;
  base::read_option(config, group ? "objective.name" : "objective", run.objective);
  if (run.objective.empty()) run.objective = run.task.default_objective();
  return run;
}

std::string model_type_of(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  base::check(fs::is_directory(folder), "{}: expected a model folder", folder.string());
  base::check(fs::exists(path), "{}: not a model folder: config.json is missing", folder.string());
  const Json json = read_json(path);
  return JsonFields(json, path.string()).text("model_type", "");
}

// One of ours that reads vectors; those that read tokens are a family among others.
bool reads_vectors(const fs::path& folder) {
  if (model_type_of(folder) != kModelType) return false;
  const Json json = read_json(folder / "config.json");
  return !json.contains("input_dims") || json["input_dims"] != 0;
}

// What is missing may be so because the type is not what it says.
DecoderOptions family_options(const fs::path& folder) {
  try {
    return read_language_config(folder).options;
  } catch (const base::Error& error) {
    base::fail("{} (model_type is {})", error.what(), base::printable(model_type_of(folder)));
  }
}

// Our own model folders carry the options of the run that made them.
std::optional<RunDescription> described_by_model(const fs::path& folder) {
  if (model_type_of(folder) != kModelType) return std::nullopt;
  const fs::path path = folder / "config.json";
  const Json json = read_json(path);
  if (!json.contains("run") || !json["run"].is_object()) return std::nullopt;
  return describe(base::config_from_json(json["run"], path.string()));
}

// The sizes in config.json are believed only once the files of weights agree, as in load_model().
void check_size(const DecoderOptions& options, const fs::path& folder) {
  const auto size = [](int64_t value) { return static_cast<double>(value); };
  const double mlp = 2 * size(options.layers) * size(options.width) * size(options.resolved_mlp_width());
  const double least = 2 * (size(options.tokens.vocabulary) * size(options.resolved_token_width()) + mlp);
  const auto bytes = static_cast<double>(WeightFiles(folder).bytes());
  base::check(least <= bytes, "{}: the model that config.json describes takes more than {}, its files have {}",
              folder.string(), base::format_bytes(least), base::format_bytes(bytes));
}

}  // namespace

base::ConfigNode read_run_config(const fs::path& run) {
  const fs::path path = run / "config.yaml";
  base::check(fs::exists(path), "{}: not a run directory: config.yaml is missing", run.string());
  return base::load_yaml(path);
}

RunFolder find_run(const fs::path& directory) {
  base::check(fs::is_directory(directory), "{}: no such directory", directory.string());
  if (fs::exists(directory / kTrainerStateFile)) {
    const fs::path run = fs::absolute(directory / "").lexically_normal().parent_path().parent_path();
    return {directory, directory, step_of_checkpoint(directory), describe(read_run_config(run))};
  }
  if (!fs::exists(directory / "config.yaml") && fs::exists(directory / "config.json")) {
    return {directory, directory, 0, described_by_model(directory)};
  }
  const RunDescription run = describe(read_run_config(directory));
  const auto checkpoint = latest_checkpoint(directory);
  base::check(checkpoint.has_value(), "{}: no checkpoint yet", directory.string());
  return {directory, *checkpoint, step_of_checkpoint(*checkpoint), run};
}

Decoder open_decoder(const fs::path& folder, torch::Device device) {
  if (reads_vectors(folder)) return load_model(folder, device);
  const DecoderOptions options = family_options(folder);
  check_size(options, folder);
  Decoder decoder(options, /*input_dims=*/0, /*seed=*/0, device);
  load_language_parameters(decoder, folder);
  return decoder;
}

void load_weights(Decoder& decoder, const fs::path& folder) {
  if (reads_vectors(folder)) {
    load_parameters(decoder, folder);
  } else {
    load_language_parameters(decoder, folder);
  }
}

}  // namespace incontext::models
