#pragma once

#include <cstdint>
#include <span>

namespace incontext::cache {

/// Rounds numbers to integers that share a scale, as llama.cpp's q8_0 and q4_0 do. 8 bits: codes from -127 to 127,
/// scale = the largest magnitude / 127. 4 bits: codes c from 0 to 15 that mean c - 8, scale = the number of the
/// largest magnitude / -8, which has code 0. Returns the scale, a number that f16 has.
///
/// `refit`: with the codes as they are, the scale that makes the sum of x² (x - scale q)² least, q being what a code
/// means: sum x² (x q) / sum x² q² (ik_llama.cpp). Large numbers weigh more than by the plain least squares.
float quantize_symmetric(std::span<const float> numbers, int bits, bool refit, int* codes);

struct ScaleAndZero {
  float scale = 0, zero = 0;  // numbers that f16 has
};

/// Codes from 0 to 2^bits - 1 that mean zero + scale * c, with zero = the least number and scale = (largest - least) /
/// (2^bits - 1), as KIVI has them.
ScaleAndZero quantize_asymmetric(std::span<const float> numbers, int bits, int* codes);

/// The largest power of two that divides a head.
int64_t rotated_width(int64_t head_dim);

/// Multiplies every run of rotated_width(head_dim) numbers of each row by the normalised Walsh-Hadamard matrix, in
/// place. It is its own inverse, and spreads what one channel holds over all of them.
void rotate_heads(float* rows, int64_t count, int64_t head_dim);

}  // namespace incontext::cache
