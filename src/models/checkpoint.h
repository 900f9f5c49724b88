#pragma once

#include <filesystem>

#include "base/config_node.h"
#include "models/decoder.h"

namespace incontext::models {

/// model_type of our own folders, in config.json.
inline constexpr const char* kModelType = "incontext";

/// Writes config.json and model.safetensors, a folder in Hugging Face's layout. `extra` entries are added to
/// config.json beside the model's own. Each file appears whole or not at all.
void save_model(const Decoder& decoder, const std::filesystem::path& folder, const base::Json& extra = {});

/// Opens such a folder. Tensors that are missing, unexpected, of another shape or dtype are Errors that name them.
Decoder load_model(const std::filesystem::path& folder, torch::Device device);

/// Replaces the values of a model's parameters by those of the folder, which must hold the same ones.
void load_parameters(Decoder& decoder, const std::filesystem::path& folder);

/// Copies `source` into `target`, which must agree in shape; `where` names the tensor's file in messages.
void copy_checked(torch::Tensor& target, const torch::Tensor& source, const std::string& name,
                  const std::string& where);

}  // namespace incontext::models
