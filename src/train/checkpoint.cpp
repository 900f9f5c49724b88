#include "train/checkpoint.h"

#include "base/file.h"
#include "base/text.h"
#include "models/checkpoint.h"
#include "tensor/safetensors.h"

namespace incontext::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "incontext-trainer-1";

void write_state(const Trainer& trainer, const fs::path& path, uint64_t records_bytes) {
  tensor::NamedTensors tensors;
  const auto& parameters = trainer.optimizer().parameters();
  const auto& moments = trainer.optimizer().moments();
  for (size_t i = 0; i < parameters.size(); ++i) {
    tensors["first." + parameters[i].name] = moments[i].first;
    tensors["second." + parameters[i].name] = moments[i].second;
  }
  tensor::write_safetensors(path, tensors,
                            {{"format", kFormat},
                             {"steps_done", std::to_string(trainer.steps_done())},
                             {"records_bytes", std::to_string(records_bytes)}});
}

uint64_t read_count(const tensor::SafetensorsFile& file, const char* key, const fs::path& path) {
  const auto entry = file.metadata().find(key);
  const auto value = entry == file.metadata().end() ? std::nullopt : base::whole_number(entry->second);
  base::check(value.has_value(), "{}: expected metadata '{}', a whole number", path.string(), key);
  return static_cast<uint64_t>(*value);
}

}  // namespace

fs::path save_checkpoint(const Trainer& trainer, const fs::path& run, uint64_t records_bytes) {
  const std::string number = fmt::format("{:06}", trainer.steps_done());
  const fs::path target = run / (models::kCheckpointPrefix + number);
  if (fs::exists(target)) return target;
  const fs::path partial = run / (models::kPartialPrefix + number);
  fs::remove_all(partial);
  base::make_directories(partial);
  try {
    trainer.objective().save(partial);
    write_state(trainer, partial / models::kTrainerStateFile, records_bytes);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(partial, ignored);
    throw;
  }
  base::rename_into_place(partial, target);
  return target;
}

uint64_t load_checkpoint(Trainer& trainer, const fs::path& checkpoint) {
  trainer.objective().load(checkpoint);
  const fs::path path = checkpoint / models::kTrainerStateFile;
  const tensor::SafetensorsFile file(path);
  const auto format = file.metadata().find("format");
  base::check(format != file.metadata().end() && format->second == kFormat, "{}: expected format {}", path.string(),
              kFormat);
  const auto& parameters = trainer.optimizer().parameters();
  auto& moments = trainer.optimizer().moments();
  for (size_t i = 0; i < parameters.size(); ++i) {
    for (const auto& [prefix, target] : {std::pair{"first.", &moments[i].first}, {"second.", &moments[i].second}}) {
      const std::string name = prefix + parameters[i].name;
      base::check(file.contains(name), "{}: tensor '{}' is missing", path.string(), name);
      models::copy_checked(*target, file.tensor(name), name, path.string());
    }
  }
  trainer.set_steps_done(static_cast<int64_t>(read_count(file, "steps_done", path)));
  return read_count(file, "records_bytes", path);
}

void load_initial_weights(Trainer& trainer) {
  const fs::path folder = trainer.options().training.initial_weights;
  if (folder.empty()) return;
  base::check(fs::is_directory(folder), "training.initial_weights: {}: no such directory", folder.string());
  trainer.objective().load_initial(models::model_folder_of(folder));
}

}  // namespace incontext::train
