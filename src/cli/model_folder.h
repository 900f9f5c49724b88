#pragma once

#include <filesystem>
#include <string>

#include "hub/model_place.h"

namespace incontext::cli {

/// The folder that MODEL names: as hub::find_model(), and of a run directory of `incontext train` its latest
/// checkpoint.
std::filesystem::path find_model_folder(const std::string& model, const hub::FindOptions& options = {});

}  // namespace incontext::cli
