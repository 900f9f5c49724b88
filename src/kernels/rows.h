#pragma once

#include <cstdint>

#include "base/threads.h"
#include "kernels/array.h"

namespace incontext::kernels {

/// out[j] = sum_i x[i, j], the gradient of what all rows share: a bias, or the positions of all sequences.
void column_sums(int64_t rows, int64_t columns, const ConstArray& x, int64_t x_stride, float* out,
                 base::ThreadPool& pool);

/// y[i, j] = x[i, j] + shared[j]; x and y [rows, columns], contiguous; y may be x.
void add_row(int64_t rows, int64_t columns, const float* x, const float* shared, float* y, base::ThreadPool& pool);

/// The definitions. Results of the above do not depend on the number of threads.
namespace ref {
void column_sums(int64_t rows, int64_t columns, const ConstArray& x, int64_t x_stride, float* out);
void add_row(int64_t rows, int64_t columns, const float* x, const float* shared, float* y);
}  // namespace ref

}  // namespace incontext::kernels
