#pragma once

#include <cstdint>

#include "base/threads.h"
#include "kernels/coefficients.h"

namespace incontext::kernels {

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
