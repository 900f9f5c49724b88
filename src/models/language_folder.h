#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/config_node.h"
#include "models/decoder.h"
#include "models/families.h"

// Language models that we train, or opened, as Hugging Face folders.

namespace incontext::models {

/// "" when the family can be written from these options alone, else what is different.
std::string family_problem(const std::string& family, const DecoderOptions& options);

/// What a model folder is, before its weights are read into a decoder: read_language_config(), with the head that is
/// there (settle_head()) and with options.family.
LanguageConfig describe_language_folder(const std::filesystem::path& folder);

struct LanguageFolderOptions {
  std::string family = "llama";  // model_type
  /// The config.json that the model was opened with: it is written again, with the types that its tensors have now.
  /// Null: written from the decoder's options.
  base::Json config = nullptr;
  std::optional<int64_t> bos_id = {}, eos_id = {};
  base::Json extra = base::Json::object();  // further entries of config.json
  /// The files that the model came from: they say which of a tensor's two names is written (WeightFiles::name_of), and
  /// hold what lies beside our parameters (the first rows of OPT's positions).
  const WeightFiles* source = nullptr;
};

/// Writes config.json, generation_config.json and model.safetensors: a folder of the family, which transformers opens
/// (except "incontext"). Parameters that are trained are written in fp32, frozen ones as they were stored: saving what
/// was opened gives back the same tensors. Each file appears whole or not at all.
void save_language_folder(const Decoder& decoder, const std::filesystem::path& folder,
                          const LanguageFolderOptions& options);

/// Replaces the values of a decoder's parameters by those of a folder of any family, in any float type. Tensors that
/// are missing or of another shape, and shapes in its config.json other than the decoder's, are Errors.
void load_language_parameters(Decoder& decoder, const std::filesystem::path& folder);

}  // namespace incontext::models
