#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/reservation.h"
#include "tensor/safetensors.h"

namespace incontext::cache {

/// Codes of the positions of one layer, in blocks of 32 positions that hold keys and values of all KV heads. Blocks of
/// a kind may differ in size, up to a largest one; what they hold is the kind's business. Memory comes page by page.
class CodeBlocks {
 public:
  CodeBlocks(int64_t capacity_blocks, int64_t largest_block);

  int64_t count() const { return static_cast<int64_t>(ends_.size()); }
  int64_t capacity() const { return capacity_; }
  const std::byte* block(int64_t index) const { return memory_.data() + begin(index); }
  int64_t block_bytes(int64_t index) const { return ends_[static_cast<size_t>(index)] - begin(index); }

  /// Room for `blocks` more of the largest size, which the caller fills with a distance of the largest size between
  /// them; then added() tells how large they are.
  std::byte* room(int64_t blocks);
  void added(const std::vector<int64_t>& sizes);

  /// Pages in use, and where the blocks end.
  int64_t bytes() const;
  void copy_from(const CodeBlocks& other);
  void clear();

  void to_tensors(const std::string& prefix, tensor::NamedTensors& tensors) const;
  /// Into empty blocks. What does not fit is an Error that names `where`.
  void from_tensors(const tensor::SafetensorsFile& file, const std::string& prefix, const std::string& where);

 private:
  int64_t begin(int64_t index) const { return index == 0 ? 0 : ends_[static_cast<size_t>(index) - 1]; }
  int64_t used() const { return ends_.empty() ? 0 : ends_.back(); }

  int64_t capacity_, largest_;
  base::Reservation memory_;
  std::vector<int64_t> ends_;
};

}  // namespace incontext::cache
