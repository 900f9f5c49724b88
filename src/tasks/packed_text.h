#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/threads.h"
#include "tasks/text_options.h"
#include "tensor/torch.h"
#include "text/tokenizer.h"

namespace incontext::tasks {

/// "bytes", or the tokenizer of a folder.
std::shared_ptr<const text::Tokenizer> open_text_tokenizer(const TextOptions& options);

/// Documents as one stream of tokens, each document ended by the tokenizer's end-of-text token, and cut into sequences
/// of `context` tokens, which may begin and end within documents ("packed": no token is padding, and attention is not
/// masked at the borders of documents). Immutable.
class PackedText {
 public:
  /// Reads and encodes all files; with a pool, documents in parallel.
  explicit PackedText(const TextOptions& options, base::ThreadPool* pool = nullptr);

  const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  /// What a person should know of the files, such as those that hold no text.
  const std::vector<std::string>& notes() const { return notes_; }

  /// Sequences first_index … first_index + count - 1 of training, int64 [count, context + 1]: what is read, and with it
  /// shifted by one, what is predicted. Sequence k is a pure function of (seed, k): every epoch visits each sequence of
  /// the stream once, in an order and with a cut of its own.
  torch::Tensor sample(uint64_t seed, uint64_t first_index, int64_t count) const;
  /// Sequences in an epoch.
  int64_t sequences() const { return sequences_; }

  /// Sequences of the held-out text, [count, context + 1], in order.
  torch::Tensor held_out(int64_t first, int64_t count) const;
  int64_t held_out_sequences() const;
  /// Bytes of text that a held-out token stands for, in the mean.
  double held_out_bytes_per_token() const { return held_out_bytes_per_token_; }

 private:
  std::vector<int32_t> encode(const std::vector<std::string>& documents, base::ThreadPool* pool) const;

  int64_t context_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::vector<std::string> notes_;
  std::vector<int32_t> training_, held_out_;
  int64_t sequences_ = 0;
  double held_out_bytes_per_token_ = 0;
};

}  // namespace incontext::tasks
