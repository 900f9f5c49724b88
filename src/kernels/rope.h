#pragma once

#include <cstdint>
#include <vector>

#include "base/threads.h"

namespace incontext::kernels {

/// Rotary position embedding (Su et al. 2021, section 3.2.2), in place, with the pairing of Llama and Hugging Face:
/// for each row and head and i < head_dim / 2
///   (x[i], x[i + head_dim/2]) is turned by the angle position * theta^(-2i / head_dim).
/// With `inverse` it is turned back, which is also the gradient. With rotary_dim only the first rotary_dim numbers of a
/// head are turned, as a head of that size would be. inverse_frequencies are the angles per position where they are not
/// the above (the scalings of long contexts); `scale` multiplies what is turned.
struct Rope {
  int64_t rows = 0, heads = 0, head_dim = 0;  // head_dim even
  float* x = nullptr;                         // head h of row r at r * row_stride + h * head_stride
  int64_t row_stride = 0, head_stride = 0;
  const int64_t* positions = nullptr;  // [rows]
  double theta = 10000;
  bool inverse = false;
  int64_t rotary_dim = 0;                       // even; 0 for head_dim
  const double* inverse_frequencies = nullptr;  // [rotary_dim / 2], or null for theta
  double scale = 1;
};

/// Angles are taken in double: in fp32 they would be off by 0.03 at position 1e6.
void rope(const Rope& args, base::ThreadPool& pool);

/// The same in two steps, for the layers of a model that share their angles. First scale * cosine and scale * sine:
struct RopeTable {
  int64_t rows = 0, rotary_dim = 0;             // rotary_dim even
  const int64_t* positions = nullptr;           // [rows]
  const double* inverse_frequencies = nullptr;  // [rotary_dim / 2]
  double scale = 1;
  float* cosine = nullptr;  // [rows, rotary_dim / 2]
  float* sine = nullptr;    // [rows, rotary_dim / 2]
};

/// then the turn, in place.
struct RopeTurn {
  int64_t rows = 0, heads = 0, rotary_dim = 0;
  float* x = nullptr;  // as in Rope
  int64_t row_stride = 0, head_stride = 0;
  const float* cosine = nullptr;
  const float* sine = nullptr;
};

void rope_table(const RopeTable& args, base::ThreadPool& pool);
void rope_turn(const RopeTurn& args, base::ThreadPool& pool);

/// theta^(-2i / rotary_dim) for i < rotary_dim / 2: what scalings start from.
std::vector<double> rope_frequencies(double theta, int64_t rotary_dim);

namespace ref {
void rope(const Rope& args);
void rope_table(const RopeTable& args);
void rope_turn(const RopeTurn& args);
}  // namespace ref

}  // namespace incontext::kernels
