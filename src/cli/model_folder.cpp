#include "cli/model_folder.h"

#include "train/checkpoint_folders.h"

namespace incontext::cli {

std::filesystem::path find_model_folder(const std::string& model, const hub::FindOptions& options) {
  const std::filesystem::path folder = hub::find_model(model, options);
  if (std::filesystem::exists(folder / "config.json")) return folder;
  return train::latest_checkpoint(folder).value_or(folder);
}

}  // namespace incontext::cli
