#include "cli/model_folder.h"

#include "models/checkpoint_folders.h"

namespace incontext::cli {

std::filesystem::path find_model_folder(const std::string& model, const hub::FindOptions& options) {
  return models::model_folder_of(hub::find_model(model, options));
}

}  // namespace incontext::cli
