#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "models/decoder_options.h"
#include "models/layers/parameters.h"
#include "models/weight_files.h"

// Language models as folders of the families that Hugging Face's transformers knows, and of our own. A family is one
// file in families/: how its config.json becomes DecoderOptions, and where its files keep each of our parameters.

namespace incontext::models {

/// What config.json says of a language model.
struct LanguageConfig {
  std::string model_type;
  DecoderOptions options;
  int64_t context = 0;  // tokens
  std::vector<int64_t> bos_ids, eos_ids;
  base::Json json;  // config.json itself
};

/// Reads folder/config.json. An unknown model_type is an Error that lists those we know; a field that is missing or of
/// another type, one that names it; an option that we do not carry out (another activation, for example), too.
LanguageConfig read_language_config(const std::filesystem::path& folder);

/// The model_types that read_language_config() knows.
std::vector<std::string> language_families();

/// The fields of the config class that transformers has for this family, each with its default.
const base::Json& config_defaults(const std::string& model_type);

/// One of our parameters from the family's files: matrices in their own type, over the file's own bytes where they lie
/// as ours do; vectors in fp32. Packed queries, keys and values of a family that keeps them apart are a copy.
torch::Tensor find_weight(const LanguageConfig& config, const WeightFiles& files, const std::string& name);

/// Tied embeddings are two names of one matrix. Files that hold a head of other values than the embeddings have one of
/// their own, whatever config.json says: then `tied_embeddings` becomes false, and what comes back tells so.
std::string settle_head(LanguageConfig& config, const WeightFiles& files);

/// Parameters of a decoder of config.options that stay as they lie in the files (on a GPU in fp32): frozen. `config`
/// and `files` must outlive the decoder's construction, and the files' maps live as long as the tensors.
WeightSource frozen_weights(const LanguageConfig& config, const WeightFiles& files, torch::Device device);

/// The same as fp32 leaves of the autograd graph, queries, keys and values packed: what training begins with.
WeightSource trained_weights(const LanguageConfig& config, const WeightFiles& files, torch::Device device);

/// Names of a family's tensors that hold no parameter (masks, cached angles).
bool is_not_a_parameter(const std::string& name);

}  // namespace incontext::models
