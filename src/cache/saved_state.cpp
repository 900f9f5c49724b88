#include "cache/saved_state.h"

#include <charconv>

#include "base/error.h"
#include "tensor/safetensors.h"

namespace incontext::cache {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "incontext-sequence-1";
constexpr const char* kCachePrefix = "cache.";
constexpr const char* kLayerPrefix = "state.";

const std::string& entry(const tensor::SafetensorsFile& file, const fs::path& path, const std::string& key) {
  const auto found = file.metadata().find(key);
  base::check(found != file.metadata().end(), "{}: not a saved cache: '{}' is missing", path.string(), key);
  return found->second;
}

int64_t whole_number(const std::string& text, const fs::path& path, const std::string& key) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  base::check(error == std::errc() && end == text.data() + text.size(), "{}: '{}': expected a whole number, got '{}'",
              path.string(), key, text);
  return value;
}

// "state.3.name" -> layer 3, "name".
void take_layer_state(const tensor::SafetensorsFile& file, const std::string& name, const fs::path& path,
                      SequenceState& state) {
  const std::string rest = name.substr(std::string(kLayerPrefix).size());
  const size_t dot = rest.find('.');
  base::check(dot != std::string::npos, "{}: unexpected tensor '{}'", path.string(), name);
  const int64_t layer = whole_number(rest.substr(0, dot), path, name);
  base::check(layer >= 0 && layer < (int64_t{1} << 20), "{}: unexpected tensor '{}'", path.string(), name);
  if (static_cast<size_t>(layer) >= state.layers.size()) state.layers.resize(static_cast<size_t>(layer) + 1);
  state.layers[static_cast<size_t>(layer)].tensors[rest.substr(dot + 1)] = file.copy(name);
}

}  // namespace

void save_state(const SequenceState& state, const fs::path& path, const std::string& fingerprint) {
  tensor::NamedTensors tensors;
  tensors["tokens"] = torch::tensor(state.tokens, torch::kInt64);
  for (auto& [name, tensor] : state.cache->to_tensors()) tensors[kCachePrefix + name] = tensor;
  for (size_t layer = 0; layer < state.layers.size(); ++layer) {
    for (const auto& [name, tensor] : state.layers[layer].tensors) {
      tensors[fmt::format("{}{}.{}", kLayerPrefix, layer, name)] = tensor;
    }
  }
  std::map<std::string, std::string> metadata{{"format", kFormat},
                                              {"fingerprint", fingerprint},
                                              {"policy", state.cache->policy()},
                                              {"layers", std::to_string(state.layers.size())},
                                              {"rope_epoch", std::to_string(state.rope_epoch.value_or(0))}};
  if (const std::string opened = state.cache->kind().opened(); !opened.empty()) metadata["opened"] = opened;
  tensor::write_safetensors(path, tensors, metadata);
}

std::unique_ptr<SequenceState> load_state(const fs::path& path, const std::string& fingerprint, const CacheKind& kind,
                                          CacheShape shape) {
  const tensor::SafetensorsFile file(path);
  for (const auto& [key, expected] : {std::pair<std::string, std::string>{"format", kFormat},
                                      {"fingerprint", fingerprint},
                                      {"policy", kind.policy()}}) {
    const std::string& found = entry(file, path, key);
    base::check(found == expected, "{}: expected {} '{}', got '{}'", path.string(), key, expected, found);
  }
  if (const std::string opened = kind.opened(); !opened.empty()) {
    base::check(entry(file, path, "opened") == opened,
                "{}: written with another file in the place of the one that '{}' names", path.string(), kind.policy());
  }
  auto state = std::make_unique<SequenceState>();
  const torch::Tensor tokens = file.tensor("tokens");
  base::check(tokens.scalar_type() == torch::kInt64 && tokens.dim() == 1,
              "{}: tensor 'tokens': expected int64 [tokens]", path.string());
  const torch::Tensor rows = tokens.contiguous();
  state->tokens.assign(rows.data_ptr<int64_t>(), rows.data_ptr<int64_t>() + rows.size(0));
  state->rope_epoch = whole_number(entry(file, path, "rope_epoch"), path, "rope_epoch");
  shape.capacity = std::max(shape.capacity, state->position());
  state->cache = kind.make(shape);
  state->cache->from_tensors(file, kCachePrefix, path.string());
  base::check(shape.layers == 0 || state->cache->length() <= state->position(),
              "{}: the cache holds {} tokens, and the sequence has {}", path.string(), state->cache->length(),
              state->position());
  for (const std::string& name : file.names()) {
    if (name.starts_with(kLayerPrefix)) take_layer_state(file, name, path, *state);
  }
  const int64_t layers = whole_number(entry(file, path, "layers"), path, "layers");
  base::check(static_cast<int64_t>(state->layers.size()) <= layers && layers < (int64_t{1} << 20),
              "{}: expected states of at most {} layers, got {}", path.string(), layers, state->layers.size());
  state->layers.resize(static_cast<size_t>(layers));
  return state;
}

}  // namespace incontext::cache
