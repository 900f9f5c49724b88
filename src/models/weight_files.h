#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tensor/safetensors.h"

namespace incontext::models {

/// The weights of a Hugging Face folder: model.safetensors, or the shards that model.safetensors.index.json names.
/// Every file is mapped and its header checked; an index that disagrees with its shards, a shard that is missing, and
/// a name that leads out of the folder are Errors. Of a tensor that lies in several shards the index says which one
/// counts.
class WeightFiles {
 public:
  explicit WeightFiles(const std::filesystem::path& folder);

  bool contains(const std::string& name) const { return places_.contains(name); }
  /// What the files call the tensor that transformers calls `name`: those that were saved without the head leave out
  /// its first part. Of a missing one, `name`.
  std::string name_of(const std::string& name) const;
  /// The tensor over the file's own bytes (read-only). A missing one is an Error that names it and the folder.
  torch::Tensor tensor(const std::string& name) const;
  /// Names that tensor() was never asked for.
  std::vector<std::string> unread() const;
  /// Bytes of all files.
  int64_t bytes() const { return bytes_; }
  /// A digest of names, shapes, types and a sample of every tensor's bytes: it tells models apart without reading
  /// gigabytes.
  std::string digest() const;

 private:
  /// `index`: tensor -> file.
  void open(const std::string& file, const std::map<std::string, std::string>& index = {});

  std::filesystem::path folder_;
  std::vector<std::unique_ptr<tensor::SafetensorsFile>> files_;
  std::map<std::string, size_t> places_;  // name -> file
  mutable std::set<std::string> read_;
  int64_t bytes_ = 0;
};

}  // namespace incontext::models
