#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/registry.h"
#include "models/families.h"
#include "models/json_fields.h"

namespace incontext::models {

/// A tensor of a family's files, and the parameters of ours that lie in it, row after row. Names are stems, without
/// ".weight" and ".bias"; N stands for the number of a layer.
struct TensorRule {
  std::string theirs;
  std::vector<std::string> ours;
  bool transposed = false;  // a matrix lies as [in, out]
  int64_t rows_before = 0;  // of theirs, which hold none of our parameters
};

/// A family of language models as Hugging Face's transformers knows it: how its config.json becomes DecoderOptions and
/// back, and where its files keep each of our parameters.
struct Family {
  std::string name;          // model_type
  std::string architecture;  // the class of transformers that opens it

  // What its config.json may hold (config_keys.h).
  base::Json defaults = base::Json::object();                   // the fields of its config class, each with its default
  std::map<std::string, std::string> aliases = {};              // other names that transformers takes for them
  std::set<std::string> obeyed = {};                            // what `read` obeys beside the fields
  std::map<std::string, std::vector<base::Json>> neutral = {};  // keys that change nothing with these values

  /// `json` is config.json over the defaults.
  void (*read)(const JsonFields& json, LanguageConfig& config) = nullptr;

  /// Empty: the files name tensors as our checkpoints do, with packed queries, keys and values.
  std::vector<TensorRule> tensors = {};

  /// Why a decoder of these options cannot be written as this family from nothing but the options; "": it can.
  std::string (*problem)(const DecoderOptions& options) = nullptr;
  /// config.json of a decoder that has no problem(), without tokens and origin.
  base::Json (*write)(const DecoderOptions& options) = nullptr;
};

/// The families. A new one is a file beside this and a row in families.cpp.
base::Registry<Family>& families();

}  // namespace incontext::models
