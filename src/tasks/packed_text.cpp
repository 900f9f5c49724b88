#include "tasks/packed_text.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/random.h"
#include "tasks/documents.h"
#include "text/byte_tokenizer.h"

namespace incontext::tasks {
namespace {

// The place of `index` in a random order of 0 … size-1, without making the order: a Feistel network permutes the
// numbers of as many bits, and is walked until it lands below `size` (Black and Rogaway, 2002).
uint64_t permuted(uint64_t index, uint64_t size, uint64_t key) {
  const int half = std::max(1, (static_cast<int>(std::bit_width(size - 1)) + 1) / 2);
  const uint64_t mask = (uint64_t{1} << half) - 1;
  const std::array<uint32_t, 2> key_words = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
  do {
    uint64_t left = index >> half, right = index & mask;
    for (uint32_t round = 0; round < 4; ++round) {
      const auto block =
          base::philox4x32({static_cast<uint32_t>(right), static_cast<uint32_t>(right >> 32), round, 0}, key_words);
      const uint64_t mixed = left ^ (block[0] & mask);
      left = right;
      right = mixed;
    }
    index = left << half | right;
  } while (index >= size);
  return index;
}

int64_t sequences_in(size_t tokens, int64_t context) { return (static_cast<int64_t>(tokens) - 1) / context; }

// Writes tokens first … first + context of the stream.
void copy_sequence(const std::vector<int32_t>& stream, int64_t first, int64_t length, int64_t* out) {
  const auto begin = stream.begin() + first;
  std::copy(begin, begin + length, out);
}

}  // namespace

void TextOptions::resolve_paths() {
  const auto absolute = [](std::string& path) { path = std::filesystem::absolute(path).lexically_normal().string(); };
  for (std::string& path : files) absolute(path);
  for (std::string& path : held_out_files) absolute(path);
  if (tokenizer != "bytes") absolute(tokenizer);
}

std::shared_ptr<const text::Tokenizer> open_text_tokenizer(const TextOptions& options) {
  return options.tokenizer == "bytes" ? text::byte_tokenizer() : text::Tokenizer::open(options.tokenizer);
}

PackedText::PackedText(const TextOptions& options, base::ThreadPool* pool)
    : context_(options.context), tokenizer_(open_text_tokenizer(options)) {
  training_ = encode(read_documents(options.files, &notes_), pool);
  if (options.held_out_files.empty()) {
    const auto kept = static_cast<size_t>(static_cast<double>(training_.size()) * (1 - options.held_out_fraction));
    held_out_.assign(training_.begin() + static_cast<std::ptrdiff_t>(kept), training_.end());
    training_.resize(kept);
  } else {
    held_out_ = encode(read_documents(options.held_out_files, &notes_), pool);
  }
  // Every epoch begins at another token, so that one sequence is spared.
  sequences_ = sequences_in(training_.size(), context_) - 1;
  base::check(sequences_ >= 1, "task.text: {} tokens to learn from, expected at least {} for sequences of {}",
              training_.size(), 2 * context_ + 1, context_);
  if (held_out_.empty()) return;
  const std::vector<int64_t> ids(held_out_.begin(), held_out_.end());
  held_out_bytes_per_token_ = static_cast<double>(tokenizer_->decode(ids, /*skip_special_tokens=*/true).size()) /
                              static_cast<double>(ids.size());
}

std::vector<int32_t> PackedText::encode(const std::vector<std::string>& documents, base::ThreadPool* pool) const {
  std::vector<std::vector<int64_t>> encoded(documents.size());
  const auto one = [&](int64_t i, int) {
    encoded[static_cast<size_t>(i)] = tokenizer_->encode(documents[static_cast<size_t>(i)]);
  };
  const auto count = static_cast<int64_t>(documents.size());
  if (pool != nullptr) {
    pool->run(count, one);
  } else {
    for (int64_t i = 0; i < count; ++i) one(i, 0);
  }
  const std::optional<int64_t> end = tokenizer_->special_tokens().eos;
  std::vector<int32_t> stream;
  for (std::vector<int64_t>& ids : encoded) {
    for (const int64_t id : ids) stream.push_back(static_cast<int32_t>(id));
    if (end && (ids.empty() || ids.back() != *end)) stream.push_back(static_cast<int32_t>(*end));
    ids = {};
  }
  return stream;
}

torch::Tensor PackedText::sample(uint64_t seed, uint64_t first_index, int64_t count) const {
  torch::Tensor batch = torch::empty({count, context_ + 1}, torch::kInt64);
  auto* const rows = batch.data_ptr<int64_t>();
  const auto size = static_cast<uint64_t>(sequences_);
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t index = first_index + static_cast<uint64_t>(i);
    base::RandomStream epoch(seed, "text/epoch", index / size);
    const uint64_t key = epoch.next_u64();
    const auto cut = static_cast<int64_t>(epoch.below(static_cast<uint64_t>(context_)));
    const auto place = static_cast<int64_t>(permuted(index % size, size, key));
    copy_sequence(training_, cut + place * context_, context_ + 1, rows + i * (context_ + 1));
  }
  return batch;
}

int64_t PackedText::held_out_sequences() const {
  return held_out_.empty() ? 0 : sequences_in(held_out_.size(), context_);
}

torch::Tensor PackedText::held_out(int64_t first, int64_t count) const {
  base::check(first >= 0 && count >= 0 && first + count <= held_out_sequences(),
              "[held_out] expected sequences within 0 … {}, got {} … {}", held_out_sequences(), first, first + count);
  torch::Tensor batch = torch::empty({count, context_ + 1}, torch::kInt64);
  for (int64_t i = 0; i < count; ++i) {
    copy_sequence(held_out_, (first + i) * context_, context_ + 1, batch.data_ptr<int64_t>() + i * (context_ + 1));
  }
  return batch;
}

}  // namespace incontext::tasks
