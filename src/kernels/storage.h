#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace incontext::kernels {

/// How weights and caches keep their numbers. Arithmetic is always in fp32.
enum class Storage { f32, f16, bf16 };

constexpr int64_t bytes_per_element(Storage storage) { return storage == Storage::f32 ? 4 : 2; }

/// The nearest bf16 value, ties to even; beyond the largest an infinity. NaN stays NaN.
constexpr uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<uint16_t>((bits >> 16U) | 0x40U);  // quiet
  return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U);
}

constexpr float from_bf16(uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16U); }

/// The nearest IEEE half, ties to even, subnormals included; from 65520 on an infinity. NaN stays NaN.
constexpr uint16_t to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16U) & 0x8000U;
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  uint32_t half = 0;
  if (magnitude > 0x7F800000U) {
    half = 0x7E00U | ((magnitude >> 13U) & 0x3FFU);
  } else if (magnitude >= 0x47800000U) {  // 2^16
    half = 0x7C00U;
  } else if (magnitude < 0x38800000U) {  // 2^-14: a unit of the sum with 1/2 is the smallest half, 2^-24
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3F000000U;
  } else {
    half = (magnitude - 0x38000000U + 0xFFFU + ((magnitude >> 13U) & 1U)) >> 13U;
  }
  return static_cast<uint16_t>(sign | half);
}

constexpr float from_f16(uint16_t value) {
  const uint32_t sign = (value & 0x8000U) << 16U;
  const uint32_t shifted = (value & 0x7FFFU) << 13U;
  const uint32_t magnitude = (value & 0x7C00U) == 0x7C00U
                                 ? shifted | 0x7F800000U
                                 : std::bit_cast<uint32_t>(std::bit_cast<float>(shifted) * 0x1.0p112F);
  return std::bit_cast<float>(sign | magnitude);
}

/// The largest finite half.
constexpr float kLargestHalf = 65504;

/// What a cache in this storage keeps of a value before it is rounded (cache_store.h).
constexpr float saturate(Storage storage, float value) {
  if (storage != Storage::f16) return value;
  return value < -kLargestHalf ? -kLargestHalf : (value > kLargestHalf ? kLargestHalf : value);
}

/// Element `index` of an array in this storage.
inline float read_element(Storage storage, const void* data, int64_t index) {
  const char* at = static_cast<const char*>(data) + index * bytes_per_element(storage);
  if (storage == Storage::f32) {
    float value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return storage == Storage::f16 ? from_f16(bits) : from_bf16(bits);
}

inline void write_element(Storage storage, void* data, int64_t index, float value) {
  char* at = static_cast<char*>(data) + index * bytes_per_element(storage);
  if (storage == Storage::f32) {
    std::memcpy(at, &value, sizeof value);
    return;
  }
  const uint16_t bits = storage == Storage::f16 ? to_f16(value) : to_bf16(value);
  std::memcpy(at, &bits, sizeof bits);
}

/// A row of `size` elements to fp32, and back (rounded to nearest even): read_element and write_element of each.
void read_row(Storage storage, const void* row, int64_t size, float* out);
void write_row(Storage storage, const float* row, int64_t size, void* out);

}  // namespace incontext::kernels
