#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cache/kind.h"
#include "models/decoder.h"
#include "models/families.h"

namespace incontext::models {

/// A language model from a Hugging Face folder, for inference. Weights stay where they lie: in the mapped files.
class LanguageModel {
 public:
  /// Tensors that are missing, mismatched or truncated are Errors that name them.
  explicit LanguageModel(const std::filesystem::path& folder, torch::Device device = torch::kCPU,
                         const ops::Settings& operations = {});

  const LanguageConfig& config() const { return config_; }
  const Decoder& decoder() const { return decoder_; }
  /// Bytes of the weights that a token passes through: every parameter but the rows of embeddings that are looked up.
  int64_t bytes_per_token() const;
  /// Writes the model as a folder of its family: the same tensors in the same types, config.json as it was read. The
  /// tokenizer's files are not copied.
  void save(const std::filesystem::path& folder) const;
  /// What cache::save_state() wrote of a sequence of this model, with a cache of this kind. A file of another model, of
  /// another kind, or that is damaged is an Error that tells which.
  std::unique_ptr<cache::SequenceState> load_sequence(const std::filesystem::path& path,
                                                      const cache::CacheKind& kind) const;
  /// Bytes of the files.
  int64_t file_bytes() const { return files_->bytes(); }
  /// Tells this model from others (config.json, a digest of the weights, activations rounded or not), for saved caches.
  const std::string& fingerprint() const { return fingerprint_; }
  /// Tensors of the files that no parameter of ours came from.
  std::vector<std::string> unread() const;
  /// One line for each thing about the files that a person should know, unread() among them.
  std::vector<std::string> notes() const;

  cache::CacheShape cache_shape(int64_t capacity) const { return decoder_.cache_shape(capacity); }
  /// What kinds of cache are opened for.
  cache::CachedModel cached_model() const;
  /// Tells this model's files from others (config.json, a digest of the weights), for what is fitted to them.
  std::string weights_fingerprint() const;
  /// Which rotary factors hold for a whole sequence of `tokens` tokens: cached keys serve only sequences of the same
  /// epoch (models/rope_frequencies.h).
  int64_t rope_epoch(int64_t tokens) const;

  /// Logits [rows, vocabulary] at `read` (indices into the step's tokens, ascending). tokens: ids of the sequences of
  /// `step`, one after the other; their states have seen them then. Without gradients.
  torch::Tensor logits(const std::vector<int64_t>& tokens, const Step& step, const std::vector<int64_t>& read) const;

 private:
  LanguageConfig config_;
  std::unique_ptr<WeightFiles> files_;
  std::string head_note_;
  Decoder decoder_;
  std::string fingerprint_;
};

}  // namespace incontext::models
