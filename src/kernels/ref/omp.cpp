#include "kernels/omp.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/storage.h"

namespace incontext::kernels {

namespace ref {
namespace {

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// Coefficients from the last to the first; scale 0: exact.
std::vector<double> solve(const std::vector<std::vector<double>>& triangle, const std::vector<double>& projections,
                          const Omp& args, float scale, int16_t* codes) {
  const std::size_t used = projections.size();
  std::vector<double> c(used);
  for (std::size_t i = used; i-- > 0;) {
    double value = projections[i];
    for (std::size_t j = i + 1; j < used; ++j) value -= triangle[j][i] * c[j];
    c[i] = value / triangle[i][i];
    if (scale > 0) {
      codes[i] = nearest_coefficient(args.rounding, static_cast<float>(c[i] / static_cast<double>(scale)));
      c[i] = static_cast<double>(coefficient_of(args.rounding, codes[i])) * static_cast<double>(scale);
    }
  }
  return c;
}

void code_one(const Omp& args, int64_t row) {
  const auto dim = static_cast<std::size_t>(args.dim);
  const float* x = args.vectors + row * args.stride;
  uint16_t* chosen = args.chosen + row * args.sparsity;
  float* coefficients = args.coefficients + row * args.sparsity;
  std::fill_n(chosen, args.sparsity, uint16_t{0});
  std::fill_n(coefficients, args.sparsity, 0.0F);
  std::vector<double> residual(x, x + dim), projections;
  std::vector<std::vector<double>> basis, triangle;  // triangle[j]: column j
  const double length = std::sqrt(dot(residual, residual));
  while (static_cast<int64_t>(basis.size()) < args.sparsity) {
    const double left = std::sqrt(dot(residual, residual));
    if (left <= std::max(static_cast<double>(args.error), 1e-6) * length) break;
    int64_t best = 0;
    double highest = -1;
    for (int64_t n = 0; n < args.atom_count; ++n) {
      double product = 0;
      for (std::size_t d = 0; d < dim; ++d)
        product += residual[d] * static_cast<double>(args.atoms[n * args.dim + static_cast<int64_t>(d)]);
      if (std::abs(product) > highest) {
        highest = std::abs(product);
        best = n;
      }
    }
    if (std::find(chosen, chosen + basis.size(), static_cast<uint16_t>(best)) != chosen + basis.size()) break;
    std::vector<double> direction(args.atoms + best * args.dim, args.atoms + (best + 1) * args.dim);
    std::vector<double> column;
    for (const auto& earlier : basis) {
      column.push_back(dot(earlier, direction));
      for (std::size_t d = 0; d < dim; ++d) direction[d] -= column.back() * earlier[d];
    }
    const double height = std::sqrt(dot(direction, direction));
    if (height < 1e-4) break;
    for (double& value : direction) value /= height;
    column.push_back(height);
    const double projection = dot(direction, residual);
    for (std::size_t d = 0; d < dim; ++d) residual[d] -= projection * direction[d];
    chosen[basis.size()] = static_cast<uint16_t>(best);
    projections.push_back(projection);
    basis.push_back(std::move(direction));
    triangle.push_back(std::move(column));
  }
  const std::size_t used = basis.size();
  args.used[row] = static_cast<int32_t>(used);
  std::vector<double> c = solve(triangle, projections, args, 0, nullptr);
  if (args.rounding != Coefficients::exact) {
    int16_t* codes = args.codes + row * args.sparsity;
    std::fill_n(codes, args.sparsity, int16_t{0});
    double largest = 0;
    for (const double value : c) largest = std::max(largest, std::abs(value));
    float scale = from_f16(to_f16(static_cast<float>(largest)));
    if (scale > 0) c = solve(triangle, projections, args, scale, codes);
    // The scale that fits the codes best.
    double along = 0, across = 0;
    for (std::size_t i = 0; i < used && scale > 0; ++i) {
      double made = 0;
      for (std::size_t j = i; j < used; ++j)
        made += triangle[j][i] * static_cast<double>(coefficient_of(args.rounding, codes[j]));
      along += made * projections[i];
      across += made * made;
    }
    if (across > 0 && along > 0) scale = from_f16(to_f16(static_cast<float>(along / across)));
    args.scales[row] = to_f16(scale);
    for (std::size_t i = 0; i < used; ++i) c[i] = static_cast<double>(coefficient_of(args.rounding, codes[i]) * scale);
  }
  for (std::size_t i = 0; i < used; ++i) coefficients[i] = static_cast<float>(c[i]);
}

}  // namespace

void omp(const Omp& args) {
  for (int64_t row = 0; row < args.count; ++row) code_one(args, row);
}

}  // namespace ref
}  // namespace incontext::kernels
