#pragma once

#include <cstdint>

#include "base/threads.h"

namespace incontext::kernels {

/// Rotary position embedding (Su et al. 2021, section 3.2.2) with the pairing of Llama and Hugging Face: for each row
/// and head and i < rotary_dim / 2
///   (x[i], x[i + rotary_dim/2]) is turned by the angle position * inverse_frequencies[i]
/// and multiplied by `scale`. It takes two steps, because the layers of a model share their angles. First scale *
/// cosine and scale * sine; angles are taken in double: in fp32 they would be off by 0.03 at position 1e6.
struct RopeTable {
  int64_t rows = 0, rotary_dim = 0;             // rotary_dim even
  const int64_t* positions = nullptr;           // [rows]
  const double* inverse_frequencies = nullptr;  // [rotary_dim / 2]
  double scale = 1;
  float* cosine = nullptr;  // [rows, rotary_dim / 2]
  float* sine = nullptr;    // [rows, rotary_dim / 2]
};

/// then the turn, in place; numbers of a head behind the first rotary_dim stay as they are. The gradient of a turn is
/// one with -sine.
struct RopeTurn {
  int64_t rows = 0, heads = 0, rotary_dim = 0;
  float* x = nullptr;  // head h of row r at r * row_stride + h * head_stride
  int64_t row_stride = 0, head_stride = 0;
  const float* cosine = nullptr;
  const float* sine = nullptr;
  int64_t table_rows = 0;  // row r takes row r % table_rows of the tables; 0: as many as there are rows
};

void rope_table(const RopeTable& args, base::ThreadPool& pool);
void rope_turn(const RopeTurn& args, base::ThreadPool& pool);

namespace ref {
void rope_table(const RopeTable& args);
void rope_turn(const RopeTurn& args);
}  // namespace ref

}  // namespace incontext::kernels
