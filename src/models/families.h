#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "models/decoder_options.h"
#include "models/weight_files.h"

// The Hugging Face families that the one decoder reads: llama, mistral, qwen2, qwen3, phi3, opt, gpt2. A family is how
// its config.json becomes DecoderOptions, and where its files keep each of our parameters.

namespace incontext::models {

/// What config.json says of a language model.
struct LanguageConfig {
  std::string model_type;
  DecoderOptions options;
  int64_t context = 0;  // tokens
  std::vector<int64_t> bos_ids, eos_ids;
};

/// Reads folder/config.json. An unknown model_type is an Error that lists those we know; a field that is missing or of
/// another type, one that names it; an option that we do not carry out (another activation, for example), too.
LanguageConfig read_language_config(const std::filesystem::path& folder);

/// The model_types that read_language_config() knows.
std::vector<std::string> language_families();

/// One of our parameters from the family's files: matrices in their own type, over the file's own bytes where they lie
/// as ours do; vectors in fp32.
torch::Tensor find_weight(const LanguageConfig& config, const WeightFiles& files, const std::string& name);

/// Tied embeddings are two names of one matrix. Files that hold a head of other values than the embeddings have one of
/// their own, whatever config.json says: then `tied_embeddings` becomes false, and what comes back tells so.
std::string settle_head(LanguageConfig& config, const WeightFiles& files);

/// The name that a family's files give to one of our parameters, where it is a tensor of its own there.
std::string weight_name(const std::string& model_type, const std::string& name);

/// Names of the family's tensors that hold no parameter (masks, cached angles).
bool is_not_a_parameter(const std::string& name);

}  // namespace incontext::models
