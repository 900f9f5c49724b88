#include "tasks/gaussian.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace incontext::tasks {
namespace {

double dot(const double* a, const double* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

void remove_components(std::span<const double> basis, int64_t count, std::span<double> vector) {
  const auto dims = static_cast<int64_t>(vector.size());
  for (int64_t k = 0; k < count; ++k) {
    const double* row = basis.data() + k * dims;
    const double length = dot(row, vector.data(), dims);
    for (int64_t j = 0; j < dims; ++j) vector[static_cast<size_t>(j)] -= length * row[j];
  }
}

std::vector<double> random_orthonormal(base::RandomStream& stream, int64_t count, int64_t dims) {
  INCONTEXT_ASSERT(count <= dims);
  std::vector<double> basis(static_cast<size_t>(count * dims));
  for (int64_t k = 0; k < count; ++k) {
    const std::span<double> row(basis.data() + k * dims, static_cast<size_t>(dims));
    for (double& value : row) value = stream.normal();
    remove_components(basis, k, row);
    remove_components(basis, k, row);
    const double length = std::sqrt(dot(row.data(), row.data(), dims));
    for (double& value : row) value /= length;
  }
  return basis;
}

Gaussian::Gaussian(int64_t dims, std::span<const double> eigenvalues, std::span<const double> basis)
    : dims_(dims), scale_(1), rank_(static_cast<int64_t>(eigenvalues.size())), factor_(basis.size()) {
  INCONTEXT_ASSERT(static_cast<int64_t>(basis.size()) == rank_ * dims);
  for (size_t i = 0; i < basis.size(); ++i) {
    factor_[i] = static_cast<float>(basis[i] * std::sqrt(eigenvalues[i / static_cast<size_t>(dims)]));
  }
}

void Gaussian::draw(base::RandomStream& stream, int64_t active_dims, std::span<float> xs) const {
  const int64_t points = static_cast<int64_t>(xs.size()) / dims_;
  if (rank_ == 0) {
    stream.fill_normal(xs);
    if (scale_ != 1) {
      for (float& x : xs) x *= static_cast<float>(scale_);
    }
  } else {
    std::vector<float> z(static_cast<size_t>(points * rank_));
    stream.fill_normal(z);
    std::fill(xs.begin(), xs.end(), 0.0F);
    for (int64_t i = 0; i < points; ++i) {
      float* x = xs.data() + i * dims_;
      for (int64_t k = 0; k < rank_; ++k) {
        const float coefficient = z[static_cast<size_t>(i * rank_ + k)];
        const float* column = factor_.data() + k * dims_;
        for (int64_t j = 0; j < dims_; ++j) x[j] += coefficient * column[j];
      }
    }
  }
  if (active_dims == dims_) return;
  for (int64_t i = 0; i < points; ++i) std::fill_n(xs.data() + i * dims_ + active_dims, dims_ - active_dims, 0.0F);
}

double Gaussian::variance(int64_t i) const {
  if (rank_ == 0) return scale_ * scale_;
  double sum = 0;
  for (int64_t k = 0; k < rank_; ++k) {
    const double value = factor_[static_cast<size_t>(k * dims_ + i)];
    sum += value * value;
  }
  return sum;
}

}  // namespace incontext::tasks
