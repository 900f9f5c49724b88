#pragma once

#include "models/families.h"
#include "models/json_fields.h"

namespace incontext::models {

/// How one family reads its config.json; null for an unknown model_type.
using ReadConfig = void (*)(const JsonFields& json, LanguageConfig& config);
ReadConfig config_reader(const std::string& model_type);

}  // namespace incontext::models
