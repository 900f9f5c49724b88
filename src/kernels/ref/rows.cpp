#include "kernels/rows.h"

namespace incontext::kernels::ref {

void column_sums(int64_t rows, int64_t columns, const ConstArray& x, int64_t x_stride, float* out) {
  for (int64_t j = 0; j < columns; ++j) {
    double sum = 0;
    for (int64_t i = 0; i < rows; ++i) sum += static_cast<double>(x[i * x_stride + j]);
    out[j] = static_cast<float>(sum);
  }
}

void add_row(int64_t rows, int64_t columns, const float* x, const float* shared, float* y) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) y[i * columns + j] = x[i * columns + j] + shared[j];
  }
}

}  // namespace incontext::kernels::ref
