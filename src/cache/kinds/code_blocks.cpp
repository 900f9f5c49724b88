#include "cache/kinds/code_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "tensor/torch.h"

namespace incontext::cache {

CodeBlocks::CodeBlocks(int64_t capacity_blocks, int64_t largest_block)
    : capacity_(capacity_blocks),
      largest_(largest_block),
      memory_(base::Reservation::round_up_to_pages(
          static_cast<size_t>(std::max<int64_t>(1, capacity_blocks * largest_block)))) {
  ends_.reserve(static_cast<size_t>(capacity_blocks));
}

std::byte* CodeBlocks::room(int64_t blocks) {
  base::check(count() + blocks <= capacity_, "[room] expected at most {} blocks, got {}", capacity_, count() + blocks);
  return memory_.data() + used();
}

void CodeBlocks::added(const std::vector<int64_t>& sizes) {
  std::byte* from = memory_.data() + used();
  for (const int64_t size : sizes) {
    std::byte* to = memory_.data() + used();
    if (to != from) std::memmove(to, from, static_cast<size_t>(size));
    ends_.push_back(used() + size);
    from += largest_;
  }
  // What smaller blocks have left behind them.
  const auto end = static_cast<size_t>(used());
  if (from != memory_.data() + end) memory_.release(end, static_cast<size_t>(from - memory_.data()) - end);
}

int64_t CodeBlocks::bytes() const {
  return static_cast<int64_t>(base::Reservation::round_up_to_pages(static_cast<size_t>(used()))) +
         static_cast<int64_t>(ends_.capacity() * sizeof(int64_t));
}

void CodeBlocks::clear() {
  ends_.clear();
  memory_.release(0, memory_.size());
}

void CodeBlocks::copy_from(const CodeBlocks& other) {
  ends_.assign(other.ends_.begin(), other.ends_.end());
  std::memcpy(memory_.data(), other.memory_.data(), static_cast<size_t>(used()));
}

void CodeBlocks::to_tensors(const std::string& prefix, tensor::NamedTensors& tensors) const {
  tensors[prefix + "codes"] = torch::from_blob(memory_.data(), {used()}, torch::kUInt8);
  tensors[prefix + "ends"] = torch::tensor(ends_, torch::kInt64);
}

void CodeBlocks::from_tensors(const tensor::SafetensorsFile& file, const std::string& prefix,
                              const std::string& where) {
  const torch::Tensor codes = file.tensor(prefix + "codes"), ends = file.tensor(prefix + "ends").contiguous();
  base::check(codes.scalar_type() == torch::kUInt8 && codes.dim() == 1 && ends.scalar_type() == torch::kInt64 &&
                  ends.dim() == 1 && ends.size(0) <= capacity_,
              "{}: tensors '{}codes' and '{}ends': expected uint8 [bytes] and int64 [at most {}]", where, prefix,
              prefix, capacity_);
  std::vector<int64_t> read(ends.data_ptr<int64_t>(), ends.data_ptr<int64_t>() + ends.size(0));
  int64_t before = 0;
  for (const int64_t end : read) {
    base::check(end >= before && end - before <= largest_, "{}: tensor '{}ends': expected blocks of at most {} bytes",
                where, prefix, largest_);
    before = end;
  }
  base::check(before == codes.size(0), "{}: tensor '{}codes': expected {} bytes, got {}", where, prefix, before,
              codes.size(0));
  ends_.assign(read.begin(), read.end());
  const torch::Tensor bytes = codes.contiguous();
  std::memcpy(memory_.data(), bytes.data_ptr(), static_cast<size_t>(before));
}

}  // namespace incontext::cache
