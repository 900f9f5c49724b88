#include "models/weight_files.h"

#include "base/config_node.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/text.h"
#include "models/json_fields.h"

namespace incontext::models {
namespace {

namespace fs = std::filesystem;
using base::Json;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

std::map<std::string, std::string> read_index(const fs::path& path) {
  const Json json = read_json(path);
  base::check(json.is_object() && json.contains("weight_map") && json["weight_map"].is_object(),
              "{}: expected an object 'weight_map'", path.string());
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : json["weight_map"].items()) {
    base::check(file.is_string(), "{}: weight_map: '{}': expected the name of a file", path.string(), name);
    const std::string text = file;
    base::check(!text.empty() && fs::path(text).filename() == text && text != "..",
                "{}: weight_map: '{}': expected a file in this folder, got '{}'", path.string(), name,
                base::printable(text));
    files[name] = text;
  }
  return files;
}

}  // namespace

WeightFiles::WeightFiles(const fs::path& folder) : folder_(folder) {
  if (fs::exists(folder / kSingle)) {
    open(kSingle);
    return;
  }
  base::check(fs::exists(folder / kIndex), "{}: expected {} or {}{}", folder.string(), kSingle, kIndex,
              fs::exists(folder / "pytorch_model.bin")
                  ? "; pytorch_model.bin is a pickle, which can run code: convert it to safetensors"
                  : "");
  const std::map<std::string, std::string> index = read_index(folder / kIndex);
  std::set<std::string> shards;
  for (const auto& [name, file] : index) shards.insert(file);
  for (const std::string& shard : shards) {
    base::check(fs::exists(folder / shard), "{}: the shard '{}', which {} names, is missing", folder.string(), shard,
                kIndex);
    open(shard, index);
  }
  for (const auto& [name, file] : index) {
    base::check(places_.contains(name), "{}: tensor '{}': {} says it is in '{}', which has none of that name",
                folder.string(), name, kIndex, file);
  }
}

void WeightFiles::open(const std::string& file, const std::map<std::string, std::string>& index) {
  files_.push_back(std::make_unique<tensor::SafetensorsFile>(folder_ / file));
  bytes_ += static_cast<int64_t>(fs::file_size(folder_ / file));
  for (const std::string& name : files_.back()->names()) {
    const auto indexed = index.find(name);
    if (indexed != index.end() && indexed->second != file) continue;
    base::check(places_.emplace(name, files_.size() - 1).second,
                "{}: tensor '{}' is in two shards, and the index names neither", folder_.string(), name);
  }
}

std::string WeightFiles::name_of(const std::string& name) const {
  if (contains(name)) return name;
  for (const std::string prefix : {"transformer.", "model."}) {
    if (name.starts_with(prefix) && contains(name.substr(prefix.size()))) return name.substr(prefix.size());
  }
  return name;
}

torch::Tensor WeightFiles::tensor(const std::string& name) const {
  const auto place = places_.find(name);
  if (place == places_.end()) {
    std::vector<std::string> names;
    for (const auto& [known, file] : places_) names.push_back(known);
    const std::string nearest = base::nearest_name(name, names);
    base::fail("{}: tensor '{}' is missing{}", folder_.string(), name,
               nearest.empty() ? "" : fmt::format("; there is '{}'", nearest));
  }
  read_.insert(name);
  return files_[place->second]->tensor(name);
}

std::vector<std::string> WeightFiles::unread() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : places_) {
    if (!read_.contains(name)) names.push_back(name);
  }
  return names;
}

std::string WeightFiles::digest() const {
  constexpr size_t kSample = 256;
  uint64_t digest = base::kFnv1aStart;
  const auto add = [&](const void* bytes, size_t size) {
    digest = base::fnv1a({static_cast<const char*>(bytes), size}, digest);
  };
  for (const auto& [name, file] : places_) {
    add(name.data(), name.size());
    const torch::Tensor tensor = files_[file]->tensor(name);
    for (const int64_t size : tensor.sizes()) add(&size, sizeof size);
    const auto type = static_cast<int>(tensor.scalar_type());
    add(&type, sizeof type);
    const size_t bytes = tensor.nbytes();
    const auto* data = static_cast<const char*>(tensor.data_ptr());
    add(data, std::min(bytes, kSample));
    if (bytes > kSample) add(data + bytes - kSample, kSample);
  }
  return fmt::format("{:016x}", digest);
}

}  // namespace incontext::models
