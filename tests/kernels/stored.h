#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/array.h"
#include "kernels/key_blocks.h"
#include "kernels/storage.h"

namespace incontext::kernels {

inline constexpr std::array kAllStorages{Storage::f32, Storage::f16, Storage::bf16};

/// A matrix in some storage whose rows lie `padding` elements apart, all bits of the padding set (NaN), and which
/// starts `offset` elements past an allocation: aligned as its elements are and no more.
class StoredMatrix {
 public:
  StoredMatrix(Storage storage, int64_t rows, int64_t columns, int64_t padding = 0, int64_t offset = 0)
      : storage_(storage),
        rows_(rows),
        columns_(columns),
        stride_(columns + padding),
        first_byte_(static_cast<std::size_t>(offset * bytes_per_element(storage))),
        bytes_(static_cast<std::size_t>(rows * stride_ * bytes_per_element(storage)) + first_byte_, 0xFF) {}

  void* data() { return bytes_.data() + first_byte_; }
  const void* data() const { return bytes_.data() + first_byte_; }
  Storage storage() const { return storage_; }
  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int64_t stride() const { return stride_; }
  /// Of fp32 or bf16.
  Array array() {
    if (storage_ == Storage::bf16) return static_cast<uint16_t*>(data());
    return static_cast<float*>(data());
  }
  const std::vector<unsigned char>& bytes() const { return bytes_; }
  void set(int64_t i, int64_t j, float value) { write_element(storage_, data(), i * stride_ + j, value); }
  float at(int64_t i, int64_t j) const { return read_element(storage_, data(), i * stride_ + j); }

  /// Everything that is not padding.
  std::vector<float> values() const {
    std::vector<float> all;
    for (int64_t i = 0; i < rows_; ++i) {
      for (int64_t j = 0; j < columns_; ++j) all.push_back(at(i, j));
    }
    return all;
  }
  /// True when nobody wrote between the rows, before or after them.
  bool padding_is_untouched() const {
    const int64_t size = bytes_per_element(storage_);
    for (std::size_t n = 0; n < bytes_.size(); ++n) {
      const auto byte = static_cast<int64_t>(n) - static_cast<int64_t>(first_byte_);
      const bool inside = byte >= 0 && byte / size < rows_ * stride_ && byte / size % stride_ < columns_;
      if (!inside && bytes_[n] != 0xFF) return false;
    }
    return true;
  }

  /// Uniform in [-scale, scale], rounded to what the storage keeps.
  StoredMatrix& fill(std::mt19937& random, float scale = 1) {
    std::uniform_real_distribution<float> uniform(-scale, scale);
    for (int64_t i = 0; i < rows_; ++i) {
      for (int64_t j = 0; j < columns_; ++j) set(i, j, uniform(random));
    }
    return *this;
  }
  /// Multiples of 1/64 in [-1/4, 1/4], so that sums of thousands of products are exact.
  StoredMatrix& fill_exact(std::mt19937& random) {
    std::uniform_int_distribution<int> integer(-16, 16);
    for (int64_t i = 0; i < rows_; ++i) {
      for (int64_t j = 0; j < columns_; ++j) set(i, j, static_cast<float>(integer(random)) / 64);
    }
    return *this;
  }

 private:
  Storage storage_;
  int64_t rows_, columns_, stride_;
  std::size_t first_byte_;
  std::vector<unsigned char> bytes_;
};

/// The keys of one KV head in blocks, aligned as elements are and no more. What no key was set to has all bits set.
class StoredKeys {
 public:
  StoredKeys(Storage storage, int64_t positions, int64_t head_dim)
      : blocks_(storage, key_blocks(positions) * head_dim, kKeyBlock, 0, 1), head_dim_(head_dim) {}

  void* data() { return blocks_.data(); }
  const std::vector<unsigned char>& bytes() const { return blocks_.bytes(); }
  void set(int64_t position, int64_t d, float value) {
    write_element(blocks_.storage(), data(), key_element(blocks_.storage(), head_dim_, position, d), value);
  }

 private:
  StoredMatrix blocks_;
  int64_t head_dim_;
};

}  // namespace incontext::kernels
