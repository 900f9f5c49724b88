#pragma once

#include <cstdint>

#include "base/threads.h"

namespace incontext::kernels {

/// How the coefficients of a sparse code are rounded. A ladder has a sign and equal steps of the logarithm: the finer
/// ones go with smaller dictionaries, since 16 bits hold a coefficient and the number of its atom.
enum class Coefficients {
  exact,    // fp32
  integer,  // code * scale / 2047 with codes of 12 bits, -2047 … 2047
  ladder,   // 4 bits: ± scale * 2^(-level / 2) with a level of 3 bits, which the sign stands above
  ladder5,  // 5 bits: 2^(-level / 4)
  ladder6,  // 6 bits: 2^(-level / 8)
};

/// Bits of a level, and levels to a factor of two; 0 where coefficients are no ladder.
constexpr int ladder_level_bits(Coefficients kind) {
  return kind == Coefficients::ladder ? 3 : kind == Coefficients::ladder5 ? 4 : kind == Coefficients::ladder6 ? 5 : 0;
}
constexpr int ladder_steps(Coefficients kind) { return 1 << (ladder_level_bits(kind) - 2); }
/// Bits of 16 that are left for the number of an atom.
constexpr int atom_bits(Coefficients kind) { return ladder_level_bits(kind) == 0 ? 12 : 15 - ladder_level_bits(kind); }

/// The value of a code over the scale, and the code of the nearest value.
float coefficient_of(Coefficients kind, int16_t code);
int16_t nearest_coefficient(Coefficients kind, float value_over_scale);
/// coefficient_of() every code of a ladder.
const float* ladder_table(Coefficients kind);

/// Sparse codes of vectors over a dictionary by orthogonal matching pursuit (Pati et al. 1993; Lexico, Kim et al.
/// 2024): x ≈ sum_i coefficients[i] atoms[chosen[i]]. Each step takes the atom with the largest |atom·residual|, the
/// first of equals, and fits all coefficients anew by least squares. A vector is done after `sparsity` steps; when its
/// residual is at most `error` of its length; and when the best atom is one that it has, or depends on those that it
/// has, which happens when nothing but rounding is left.
///
/// Rounded coefficients are chosen from the last to the first, each making good what those before it left (the nearest
/// plane method of Babai 1986), with one scale for each vector, an IEEE half.
struct Omp {
  const float* atoms = nullptr;  // [atom_count, dim], each of length 1
  int64_t atom_count = 0, dim = 0;
  const float* vectors = nullptr;  // [count, dim], rows `stride` apart
  int64_t stride = 0, count = 0;
  int64_t sparsity = 0;  // at most dim and atom_count
  float error = 0;
  Coefficients rounding = Coefficients::exact;
  uint16_t* chosen = nullptr;     // [count, sparsity], in the order of their choice; 0 from `used` on
  float* coefficients = nullptr;  // [count, sparsity], rounded; 0 from `used` on
  int32_t* used = nullptr;        // [count]
  int16_t* codes = nullptr;       // [count, sparsity], where coefficients are rounded
  uint16_t* scales = nullptr;     // [count], halves, where coefficients are rounded
};

/// The bits of a code depend on its vector and the instruction set only. Atoms are sought by approximate products in
/// int8 (AVX-512 VNNI) or fp32 with a bound on their error; those that may be the best are compared in fp32.
void omp(const Omp& args, base::ThreadPool& pool);

namespace ref {
void omp(const Omp& args);
}  // namespace ref

}  // namespace incontext::kernels
