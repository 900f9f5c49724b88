#include "models/language_model.h"

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "models/rope_frequencies.h"

namespace incontext::models {
namespace {

using torch::Tensor;

WeightSource weights_of(const LanguageConfig& config, const WeightFiles& files, torch::Device device) {
  const auto get = [&config, &files, device](const std::string& name, torch::IntArrayRef shape, const Init&) {
    const Tensor tensor = find_weight(config, files, name);
    base::check(tensor.sizes() == shape, "tensor '{}' of the {} model: expected shape [{}], got [{}]", name,
                config.model_type, fmt::join(shape, ", "), fmt::join(tensor.sizes(), ", "));
    return device.is_cpu() ? tensor : tensor.to(device, torch::kFloat32);
  };
  return {.get = get, .packed_qkv = false};
}

}  // namespace

LanguageModel::LanguageModel(const std::filesystem::path& folder, torch::Device device, const ops::Settings& operations)
    : config_(read_language_config(folder)),
      files_(std::make_unique<WeightFiles>(folder)),
      head_note_(settle_head(config_, *files_)),
      decoder_(config_.options, /*input_dims=*/0, weights_of(config_, *files_, device), device),
      fingerprint_(fmt::format("{}-{}{}", config_.model_type, files_->digest(),
                               operations.precision == kernels::Precision::bf16 ? "-bf16" : "")) {
  base::check(device.is_cpu(), "language models run on the CPU so far, got {}", device.str());
  decoder_.operations() = operations;
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

int64_t LanguageModel::bytes_per_token() const {
  int64_t bytes = 0;
  for (const NamedTensor& parameter : decoder_.parameters()) {
    const bool looked_up = parameter.name == "position.weight" ||
                           (parameter.name == "embedding.weight" && !config_.options.tied_embeddings);
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
