#pragma once

#include <cstdint>

namespace incontext::kernels {

/// Atoms as bytes for approximate products: panels of `lanes` atoms, each [groups, lanes, 4] with groups of four of the
/// dimension, as code + offset with atom ≈ code * step and codes from -(offset - 1) to offset - 1. What fills up panels
/// and groups is zero.
struct ByteDictionary {
  const uint8_t* panels = nullptr;
  int64_t atoms = 0, groups = 0;  // atoms: padded to whole panels
  float step = 0;
  float error = 0;  // the largest distance between an atom and its bytes
};

/// A search by the instructions of one set.
struct ByteSearch {
  int64_t lanes = 0;   // atoms of a panel
  int32_t offset = 0;  // of the bytes of atoms
  /// out[v, n] = |sum_d code(atom n)[d] vectors[v][d]| as floats for rows of int8 from -127 to 127, `groups` * 4 long,
  /// and in highest[v] the largest of a row.
  void (*run)(const ByteDictionary& dictionary, const int8_t* vectors, int64_t count, float* out,
              float* highest) = nullptr;
};

/// The best search that this machine and the limits on dispatch allow, or null: AVX-512 VNNI multiplies four times as
/// many pairs in a cycle as fp32 multiply-adds do, AVX2 twice as many. `avx2`: whether AVX2 is allowed.
const ByteSearch* usable_byte_search(bool avx2);

}  // namespace incontext::kernels
