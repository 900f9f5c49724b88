#pragma once

#include <cstdint>

#include "base/threads.h"

namespace incontext::kernels {

/// Rotary position embedding (Su et al. 2021, section 3.2.2), in place, with the pairing of Llama and Hugging Face:
/// for each row and head and i < head_dim / 2
///   (x[i], x[i + head_dim/2]) is turned by the angle position * theta^(-2i / head_dim).
/// With `inverse` it is turned back, which is also the gradient.
struct Rope {
  int64_t rows = 0, heads = 0, head_dim = 0;  // head_dim even
  float* x = nullptr;                         // head h of row r at r * row_stride + h * head_stride
  int64_t row_stride = 0, head_stride = 0;
  const int64_t* positions = nullptr;  // [rows]
  double theta = 10000;
  bool inverse = false;
};

void rope(const Rope& args, base::ThreadPool& pool);

namespace ref {
void rope(const Rope& args);
}  // namespace ref

}  // namespace incontext::kernels
