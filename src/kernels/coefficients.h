#pragma once

#include <cstdint>

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

}  // namespace incontext::kernels
