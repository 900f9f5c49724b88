#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "tensor/safetensors_header.h"
#include "tensor/torch.h"

namespace incontext::tensor {

/// A safetensors file, mapped into memory. The header is checked when it is opened (see safetensors_header.h); the
/// tensors' bytes are read when they are used.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  /// In the order of their bytes in the file.
  const std::vector<std::string>& names() const { return header_.names; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  bool contains(const std::string& name) const { return header_.tensors.contains(name); }
  /// An unknown name is an Error that suggests the nearest one.
  const TensorInfo& info(const std::string& name) const;

  /// A CPU tensor over the file's own bytes, which keeps the map alive and may outlive this object. Its memory is
  /// READ-ONLY: writing to it, in place or through a pointer, ends the process. Copied only where the bytes are not
  /// aligned for their type. A dtype that libtorch 1.13 cannot hold (F8_*, U16, U32, U64) is an Error.
  torch::Tensor tensor(const std::string& name) const;

  /// The same values in memory of their own, which may be written.
  torch::Tensor copy(const std::string& name) const { return tensor(name).clone(); }

 private:
  std::filesystem::path path_;
  std::shared_ptr<const base::MappedFile> map_;
  SafetensorsHeader header_;
};

using NamedTensors = std::map<std::string, torch::Tensor>;

/// Writes tensors of any device and stride as one file that appears whole or not at all. The same tensors and
/// metadata give the same bytes: entries are sorted by size of their type (largest first), then by name.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace incontext::tensor
