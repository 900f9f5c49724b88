#include "cache/kinds/lexico_dictionary.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/digest.h"
#include "base/error.h"
#include "kernels/sparse_attention.h"
#include "tensor/safetensors.h"

namespace incontext::cache {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDictionaryFormat = "incontext-lexico-1";

torch::Tensor read_part(const tensor::SafetensorsFile& file, const std::string& name, torch::ScalarType type,
                        const fs::path& path) {
  torch::Tensor tensor = file.copy(name);
  base::check(tensor.scalar_type() == type, "{}: tensor '{}': expected {}, got {}", path.string(), name,
              torch::toString(type), torch::toString(tensor.scalar_type()));
  base::check(torch::isfinite(tensor.to(torch::kFloat32)).all().item<bool>(),
              "{}: tensor '{}' holds numbers that are not finite", path.string(), name);
  return tensor.contiguous();
}

LexicoPart read_lexico_part(const tensor::SafetensorsFile& file, const std::string& prefix, const CacheShape& shape,
                            const fs::path& path) {
  LexicoPart part;
  part.atoms = read_part(file, prefix + "atoms", torch::kFloat16, path);
  base::check(part.atoms.dim() == 2 && part.atoms.size(1) == shape.head_dim && part.atoms.size(0) >= 1 &&
                  part.atoms.size(0) <= kernels::SparseLayout::kMostAtoms,
              "{}: tensor '{}atoms': expected [1 to {}, {}], got [{}]: fitted to a model with another head_dim?",
              path.string(), prefix, kernels::SparseLayout::kMostAtoms, shape.head_dim,
              fmt::join(part.atoms.sizes(), ", "));
  if (file.contains(prefix + "mean")) {
    part.mean = read_part(file, prefix + "mean", torch::kFloat32, path);
    base::check(part.mean.sizes() == torch::IntArrayRef({shape.kv_heads, shape.head_dim}),
                "{}: tensor '{}mean': expected [{}, {}], got [{}]", path.string(), prefix, shape.kv_heads,
                shape.head_dim, fmt::join(part.mean.sizes(), ", "));
  }
  if (file.contains(prefix + "weights")) {
    part.weights = read_part(file, prefix + "weights", torch::kFloat32, path);
    base::check(part.weights.sizes() == torch::IntArrayRef({shape.head_dim}) && part.weights.min().item<float>() > 0,
                "{}: tensor '{}weights': expected {} positive numbers", path.string(), prefix, shape.head_dim);
  }
  // Codes rely on it: an atom of another length would be chosen too often or never.
  torch::Tensor rows = part.atoms.to(torch::kFloat32);
  if (part.weights.defined()) rows = rows * part.weights;
  base::check((rows.norm(2, {1}) - 1).abs().max().item<float>() < 0.02F,
              "{}: tensor '{}atoms': expected atoms of length 1", path.string(), prefix);
  return part;
}

}  // namespace

int64_t LexicoDictionary::bytes() const {
  int64_t total = 0;
  for (const auto* parts : {&keys, &values}) {
    for (const LexicoPart& part : *parts) {
      for (const torch::Tensor& tensor : {part.atoms, part.mean, part.weights}) {
        if (tensor.defined()) total += static_cast<int64_t>(tensor.nbytes());
      }
    }
  }
  return total;
}

std::string LexicoDictionary::digest() const {
  uint64_t state = base::kFnv1aStart;
  for (const auto* parts : {&keys, &values}) {
    for (const LexicoPart& part : *parts) {
      for (const torch::Tensor& tensor : {part.atoms, part.mean, part.weights}) {
        if (!tensor.defined()) continue;
        const torch::Tensor rows = tensor.contiguous();
        state = base::fnv1a({static_cast<const char*>(rows.data_ptr()), rows.nbytes()}, state);
      }
    }
  }
  return fmt::format("{:016x}", state);
}

void write_lexico_dictionary(const LexicoDictionary& dictionary, const fs::path& path) {
  tensor::NamedTensors tensors;
  const auto add = [&](const std::string& prefix, const LexicoPart& part) {
    tensors[prefix + "atoms"] = part.atoms;
    if (part.mean.defined()) tensors[prefix + "mean"] = part.mean;
    if (part.weights.defined()) tensors[prefix + "weights"] = part.weights;
  };
  for (size_t layer = 0; layer < dictionary.keys.size(); ++layer) {
    add(fmt::format("layers.{}.keys.", layer), dictionary.keys[layer]);
    add(fmt::format("layers.{}.values.", layer), dictionary.values[layer]);
  }
  std::map<std::string, std::string> metadata = dictionary.settings;
  metadata["format"] = kDictionaryFormat;
  metadata["model"] = dictionary.model;
  metadata["layers"] = std::to_string(dictionary.keys.size());
  tensor::write_safetensors(path, tensors, metadata);
}

LexicoDictionary read_lexico_dictionary(const fs::path& path, const CachedModel& model) {
  const tensor::SafetensorsFile file(path);
  const auto entry = [&](const std::string& key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string() : found->second;
  };
  base::check(entry("format") == kDictionaryFormat,
              "{}: not a dictionary of incontext calibrate lexico: expected format '{}', got '{}'", path.string(),
              kDictionaryFormat, entry("format"));
  base::check(entry("layers") == std::to_string(model.shape.layers),
              "{}: fitted to a model of {} layers; this one has {}", path.string(), entry("layers"),
              model.shape.layers);
  LexicoDictionary dictionary;
  dictionary.model = entry("model");
  for (const auto& [key, value] : file.metadata()) {
    if (key != "format" && key != "model" && key != "layers") dictionary.settings[key] = value;
  }
  for (int64_t layer = 0; layer < model.shape.layers; ++layer) {
    dictionary.keys.push_back(read_lexico_part(file, fmt::format("layers.{}.keys.", layer), model.shape, path));
    dictionary.values.push_back(read_lexico_part(file, fmt::format("layers.{}.values.", layer), model.shape, path));
  }
  base::check(model.fingerprint.empty() || dictionary.model == model.fingerprint,
              "{}: fitted to another model: expected one for '{}', got one for '{}'", path.string(), model.fingerprint,
              dictionary.model);
  return dictionary;
}

}  // namespace incontext::cache
