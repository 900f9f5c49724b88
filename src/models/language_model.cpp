#include "models/language_model.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cache/saved_state.h"
#include "models/language_folder.h"
#include "models/rope_frequencies.h"

namespace incontext::models {
using torch::Tensor;

LanguageModel::LanguageModel(const std::filesystem::path& folder, torch::Device device, const ops::Settings& operations)
    : config_(read_language_config(folder)),
      files_(std::make_unique<WeightFiles>(folder)),
      head_note_(settle_head(config_, *files_)),
      decoder_(config_.options, /*input_dims=*/0, frozen_weights(config_, *files_, device), device),
      fingerprint_(fmt::format("{}-{}{}", config_.model_type, files_->digest(),
                               operations.precision == kernels::Precision::bf16 ? "-bf16" : "")) {
  base::check(device.is_cpu(), "language models run on the CPU so far, got {}", device.str());
  decoder_.operations() = operations;
}

std::string LanguageModel::weights_fingerprint() const {
  return fmt::format("{}-{}", config_.model_type, files_->digest());
}

void LanguageModel::save(const std::filesystem::path& folder) const {
  save_language_folder(decoder_, folder,
                       {.family = config_.model_type, .config = config_.json, .source = files_.get()});
}

std::unique_ptr<cache::SequenceState> LanguageModel::load_sequence(const std::filesystem::path& path,
                                                                   const cache::CacheKind& kind) const {
  std::unique_ptr<cache::SequenceState> state = cache::load_state(path, fingerprint_, kind, cache_shape(0));
  for (const int64_t token : state->tokens) {
    base::check(token >= 0 && token < config_.options.tokens.vocabulary, "{}: expected token ids below {}, got {}",
                path.string(), config_.options.tokens.vocabulary, token);
  }
  const std::unique_ptr<cache::SequenceState> fresh = decoder_.new_sequence(kind, /*capacity=*/0);
  const auto alike = [](const cache::LayerState& a, const cache::LayerState& b) {
    return std::equal(a.tensors.begin(), a.tensors.end(), b.tensors.begin(), b.tensors.end(),
                      [](const auto& one, const auto& other) {
                        return one.first == other.first && one.second.sizes() == other.second.sizes() &&
                               one.second.scalar_type() == other.second.scalar_type();
                      });
  };
  base::check(std::equal(state->layers.begin(), state->layers.end(), fresh->layers.begin(), fresh->layers.end(), alike),
              "{}: the states of its layers are not those of this model", path.string());
  return state;
}

std::vector<std::string> LanguageModel::unread() const {
  std::vector<std::string> names;
  for (const std::string& name : files_->unread()) {
    if (!is_not_a_parameter(name)) names.push_back(name);
  }
  return names;
}

std::vector<std::string> LanguageModel::notes() const {
  std::vector<std::string> notes;
  if (!head_note_.empty()) notes.push_back(head_note_);
  for (const std::string& name : unread()) {
    notes.push_back(fmt::format("the model's tensor '{}' is not used", base::printable(name)));
  }
  return notes;
}

cache::CachedModel LanguageModel::cached_model() const {
  bool sliding = false;
  for (int64_t layer = 0; layer < config_.options.layers; ++layer) sliding |= config_.options.attention.window.of_layer(layer) > 0;
  return {.shape = cache_shape(0), .fingerprint = weights_fingerprint(), .sliding_window = sliding};
}

int64_t LanguageModel::bytes_per_token() const {
  int64_t bytes = 0;
  for (const NamedTensor& parameter : decoder_.parameters()) {
    const bool looked_up = parameter.name == "position.weight" ||
                           (parameter.name == "embedding.weight" && !config_.options.tokens.tied_embeddings);
    if (!looked_up) bytes += static_cast<int64_t>(parameter.tensor.nbytes());
  }
  return bytes;
}

int64_t LanguageModel::rope_epoch(int64_t tokens) const { return models::rope_epoch(config_.options, tokens); }

Tensor LanguageModel::logits(const std::vector<int64_t>& tokens, const Step& step,
                             const std::vector<int64_t>& read) const {
  torch::NoGradGuard no_gradients;
  Tensor hidden = decoder_.embed(torch::tensor(tokens, torch::kInt64), step);
  hidden = decoder_.run_layers(hidden, 0, config_.options.layers, step);
  size_t at = 0;
  for (const SequenceSlice& slice : step.sequences) {
    const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(at);
    slice.state->tokens.insert(slice.state->tokens.end(), first, first + slice.count);
    at += static_cast<size_t>(slice.count);
  }
  if (read.size() != tokens.size()) hidden = hidden.index_select(0, torch::tensor(read, torch::kInt64));
  return decoder_.head(decoder_.final_norm(hidden));
}

}  // namespace incontext::models
