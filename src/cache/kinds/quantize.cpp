#include "cache/kinds/quantize.h"

#include <algorithm>
#include <cmath>

#include "kernels/storage.h"

namespace incontext::cache {
namespace {

float to_half_and_back(float value) {
  return kernels::from_f16(kernels::to_f16(kernels::saturate(kernels::Storage::f16, value)));
}

}  // namespace

float quantize_symmetric(std::span<const float> numbers, int bits, bool refit, int* codes) {
  float largest = 0;  // with its sign
  for (const float x : numbers) {
    if (std::abs(x) > std::abs(largest)) largest = x;
  }
  const int offset = bits == 8 ? 0 : 1 << (bits - 1), low = bits == 8 ? -127 : 0;
  const int high = bits == 8 ? 127 : (1 << bits) - 1;
  const float scale = bits == 8 ? std::abs(largest) / 127 : largest / -static_cast<float>(offset);
  const float inverse = scale == 0 ? 0 : 1 / scale;
  double product = 0, square = 0;
  for (size_t i = 0; i < numbers.size(); ++i) {
    const float x = numbers[i];
    codes[i] = std::clamp(static_cast<int>(std::lround(x * inverse)) + offset, low, high);
    const double weight = static_cast<double>(x) * static_cast<double>(x), q = codes[i] - offset;
    product += weight * static_cast<double>(x) * q;
    square += weight * q * q;
  }
  return to_half_and_back(refit && square > 0 ? static_cast<float>(product / square) : scale);
}

ScaleAndZero quantize_asymmetric(std::span<const float> numbers, int bits, int* codes) {
  const auto [least, most] = std::minmax_element(numbers.begin(), numbers.end());
  const int largest_code = (1 << bits) - 1;
  const float zero = to_half_and_back(*least);
  const float scale = to_half_and_back((*most - *least) / static_cast<float>(largest_code));
  const float inverse = scale == 0 ? 0 : 1 / scale;
  for (size_t i = 0; i < numbers.size(); ++i) {
    codes[i] = std::clamp(static_cast<int>(std::lround((numbers[i] - zero) * inverse)), 0, largest_code);
  }
  return {scale, zero};
}

int64_t rotated_width(int64_t head_dim) { return head_dim & -head_dim; }

void rotate_heads(float* rows, int64_t count, int64_t head_dim) {
  const int64_t width = rotated_width(head_dim);
  if (width == 1) return;
  const float norm = 1 / std::sqrt(static_cast<float>(width));
  for (float* run = rows; run < rows + count * head_dim; run += width) {
    for (int64_t half = 1; half < width; half *= 2) {
      for (int64_t first = 0; first < width; first += 2 * half) {
        for (int64_t i = first; i < first + half; ++i) {
          const float a = run[i], b = run[i + half];
          run[i] = a + b;
          run[i + half] = a - b;
        }
      }
    }
    for (int64_t i = 0; i < width; ++i) run[i] *= norm;
  }
}

}  // namespace incontext::cache
