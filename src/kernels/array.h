#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/storage.h"

namespace incontext::kernels {

/// Where a kernel reads numbers: floats, or values kept as the bits of bf16; or nowhere. Arithmetic is in fp32.
class ConstArray {
 public:
  constexpr ConstArray(std::nullptr_t = nullptr) {}
  constexpr ConstArray(const float* data) : data_(data) {}
  constexpr ConstArray(const uint16_t* data) : data_(data), storage_(Storage::bf16) {}

  constexpr Storage storage() const { return storage_; }
  constexpr bool is_bf16() const { return storage_ == Storage::bf16; }
  const void* data() const { return data_; }
  const float* f32() const { return static_cast<const float*>(data_); }
  const uint16_t* bf16() const { return static_cast<const uint16_t*>(data_); }

  /// One element, for definitions: slow.
  float operator[](int64_t index) const { return read_element(storage_, data_, index); }

  ConstArray operator+(int64_t elements) const {
    if (is_bf16()) return bf16() + elements;
    return f32() + elements;
  }
  friend constexpr bool operator==(const ConstArray& array, std::nullptr_t) { return array.data_ == nullptr; }

 private:
  const void* data_ = nullptr;
  Storage storage_ = Storage::f32;
};

/// The same, to be written to; values are rounded to nearest even.
class Array {
 public:
  constexpr Array(std::nullptr_t = nullptr) {}
  constexpr Array(float* data) : data_(data) {}
  constexpr Array(uint16_t* data) : data_(data), storage_(Storage::bf16) {}

  constexpr Storage storage() const { return storage_; }
  constexpr bool is_bf16() const { return storage_ == Storage::bf16; }
  float* f32() const { return static_cast<float*>(data_); }
  uint16_t* bf16() const { return static_cast<uint16_t*>(data_); }
  operator ConstArray() const {
    if (is_bf16()) return bf16();
    return f32();
  }

  /// One element, for definitions: slow.
  float operator[](int64_t index) const { return read_element(storage_, data_, index); }
  void set(int64_t index, float value) const { write_element(storage_, data_, index, value); }

  Array operator+(int64_t elements) const {
    if (is_bf16()) return bf16() + elements;
    return f32() + elements;
  }
  Array& operator+=(int64_t elements) { return *this = *this + elements; }
  friend constexpr bool operator==(const Array& array, std::nullptr_t) { return array.data_ == nullptr; }

 private:
  void* data_ = nullptr;
  Storage storage_ = Storage::f32;
};

}  // namespace incontext::kernels
