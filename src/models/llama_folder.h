#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/config_node.h"
#include "models/decoder.h"

// Language models that we train, as Hugging Face folders of the family "llama".

namespace incontext::models {

/// "" when Hugging Face's Llama is the model that these options describe, else what is different.
std::string llama_problem(const DecoderOptions& options);

struct LlamaFolderOptions {
  std::optional<int64_t> bos_id = {}, eos_id = {};
  base::Json extra = {};  // further entries of config.json
};

/// Writes config.json, generation_config.json and model.safetensors (fp32). Each file appears whole or not at all.
void save_llama(const Decoder& decoder, const std::filesystem::path& folder, const LlamaFolderOptions& options);

/// Replaces the values of a decoder's parameters by those of a Hugging Face folder of any family, in any float type.
/// Tensors that are missing or of another shape, and shapes in its config.json other than the decoder's, are Errors.
void load_language_parameters(Decoder& decoder, const std::filesystem::path& folder);

}  // namespace incontext::models
