#include "calibrate/dictionary_learning.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "kernels/omp.h"
#include "tensor/device.h"

namespace incontext::calibrate {
namespace {

using torch::Tensor;

/// Sparse codes of a batch, and what they leave.
struct BatchCodes {
  std::vector<uint16_t> chosen;
  std::vector<float> coefficients;
  std::vector<int32_t> used;
  Tensor residual;             // [batch, dim]
  std::vector<double> errors;  // |residual| / |x| of each
};

BatchCodes code_batch(const Tensor& vectors, const Tensor& atoms, int64_t sparsity) {
  const int64_t count = vectors.size(0), dim = vectors.size(1);
  BatchCodes codes;
  codes.chosen.resize(static_cast<size_t>(count * sparsity));
  codes.coefficients.resize(codes.chosen.size());
  codes.used.resize(static_cast<size_t>(count));
  kernels::omp({.atoms = atoms.data_ptr<float>(),
                .atom_count = atoms.size(0),
                .dim = dim,
                .vectors = vectors.data_ptr<float>(),
                .stride = dim,
                .count = count,
                .sparsity = sparsity,
                .chosen = codes.chosen.data(),
                .coefficients = codes.coefficients.data(),
                .used = codes.used.data()},
               tensor::kernel_pool());
  codes.residual = vectors.clone();
  codes.errors.resize(static_cast<size_t>(count));
  float* residual = codes.residual.data_ptr<float>();
  constexpr int64_t kRows = 64;
  tensor::kernel_pool().run((count + kRows - 1) / kRows, [&](int64_t piece, int) {
    for (int64_t row = piece * kRows; row < std::min(count, (piece + 1) * kRows); ++row) {
      float* left = residual + row * dim;
      double length = 0, rest = 0;
      for (int64_t d = 0; d < dim; ++d) length += static_cast<double>(left[d]) * left[d];
      for (int64_t i = 0; i < codes.used[static_cast<size_t>(row)]; ++i) {
        const auto at = static_cast<size_t>(row * sparsity + i);
        const float* atom = atoms.data_ptr<float>() + codes.chosen[at] * dim;
        for (int64_t d = 0; d < dim; ++d) left[d] -= codes.coefficients[at] * atom[d];
      }
      for (int64_t d = 0; d < dim; ++d) rest += static_cast<double>(left[d]) * left[d];
      codes.errors[static_cast<size_t>(row)] = length > 0 ? std::sqrt(rest / length) : 0;
    }
  });
  return codes;
}

/// For every atom the sum of c r over its uses, [atoms, dim], and of c². Uses are added in their order in the batch.
struct AtomSums {
  Tensor moves;
  std::vector<float> squares;
  std::vector<int64_t> uses;
};

AtomSums sum_by_atom(const BatchCodes& codes, int64_t atoms, int64_t dim, int64_t sparsity) {
  std::vector<std::vector<uint32_t>> places(static_cast<size_t>(atoms));
  for (size_t row = 0; row < codes.used.size(); ++row) {
    for (int32_t i = 0; i < codes.used[row]; ++i) {
      const size_t at = row * static_cast<size_t>(sparsity) + static_cast<size_t>(i);
      places[codes.chosen[at]].push_back(static_cast<uint32_t>(at));
    }
  }
  AtomSums sums{.moves = torch::zeros({atoms, dim}),
                .squares = std::vector<float>(static_cast<size_t>(atoms), 0),
                .uses = std::vector<int64_t>(static_cast<size_t>(atoms), 0)};
  float* moves = sums.moves.data_ptr<float>();
  const float* residual = codes.residual.data_ptr<float>();
  constexpr int64_t kAtoms = 64;
  tensor::kernel_pool().run((atoms + kAtoms - 1) / kAtoms, [&](int64_t piece, int) {
    for (int64_t atom = piece * kAtoms; atom < std::min(atoms, (piece + 1) * kAtoms); ++atom) {
      for (const uint32_t at : places[static_cast<size_t>(atom)]) {
        const float c = codes.coefficients[at];
        const float* left = residual + static_cast<int64_t>(at) / sparsity * dim;
        for (int64_t d = 0; d < dim; ++d) moves[atom * dim + d] += c * left[d];
        sums.squares[static_cast<size_t>(atom)] += c * c;
      }
      sums.uses[static_cast<size_t>(atom)] = static_cast<int64_t>(places[static_cast<size_t>(atom)].size());
    }
  });
  return sums;
}

Tensor of_length_one(const Tensor& rows) { return rows / rows.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-20); }

/// Vectors of the data that are not nearly zero, at random, and random directions where there are too few.
Tensor first_atoms(const Tensor& vectors, int64_t atoms, uint64_t seed) {
  const Tensor lengths = vectors.norm(2, {1});
  const Tensor usable = (lengths > 1e-3 * lengths.mean()).nonzero().flatten();
  std::vector<int64_t> order(static_cast<size_t>(usable.size(0)));
  std::iota(order.begin(), order.end(), 0);
  base::RandomStream random(seed, "dictionary atoms", 0);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  order.resize(std::min(order.size(), static_cast<size_t>(atoms)));
  Tensor chosen = vectors.index_select(0, usable.index_select(0, torch::tensor(order, torch::kInt64)));
  if (chosen.size(0) < atoms) {
    chosen = torch::cat({chosen, random_dictionary(atoms - chosen.size(0), vectors.size(1), seed)});
  }
  return of_length_one(chosen).contiguous();
}

}  // namespace

Tensor random_dictionary(int64_t atoms, int64_t dim, uint64_t seed) {
  Tensor rows = torch::empty({atoms, dim});
  base::RandomStream(seed, "random dictionary", 0)
      .fill_normal(std::span(rows.data_ptr<float>(), static_cast<size_t>(rows.numel())));
  return of_length_one(rows);
}

double coding_error(const Tensor& vectors, const Tensor& atoms, int64_t sparsity) {
  const BatchCodes codes = code_batch(vectors.contiguous(), atoms.contiguous(), sparsity);
  return std::accumulate(codes.errors.begin(), codes.errors.end(), 0.0) / static_cast<double>(codes.errors.size());
}

Tensor learn_dictionary(const Tensor& vectors, const DictionaryOptions& options,
                        const std::function<bool(int64_t step, double error)>& progress) {
  const torch::NoGradGuard no_gradient;
  const int64_t count = vectors.size(0), dim = vectors.size(1);
  base::check(count >= 1 && options.sparsity <= std::min(dim, options.atoms),
              "[learn_dictionary] expected some vectors and a sparsity of at most {}, got {} and {}",
              std::min(dim, options.atoms), count, options.sparsity);
  const Tensor data = vectors.contiguous();
  Tensor atoms = first_atoms(data, options.atoms, options.seed);
  Tensor first_moment = torch::zeros_like(atoms), second_moment = torch::zeros_like(atoms);
  std::vector<int64_t> unused(static_cast<size_t>(options.atoms), 0);  // steps since an atom was last used
  const bool adam = options.update == DictionaryUpdate::adam;
  const double first_rate = options.learning_rate > 0 ? options.learning_rate : (adam ? 0.01 : 1.0);
  const int64_t batch = std::min(options.batch, count);
  for (int64_t step = 0; step < options.steps; ++step) {
    base::RandomStream random(options.seed, "dictionary batch", static_cast<uint64_t>(step));
    std::vector<int64_t> rows(static_cast<size_t>(batch));
    for (int64_t& row : rows) row = static_cast<int64_t>(random.below(static_cast<uint64_t>(count)));
    const BatchCodes codes =
        code_batch(data.index_select(0, torch::tensor(rows, torch::kInt64)), atoms, options.sparsity);
    const AtomSums sums = sum_by_atom(codes, options.atoms, dim, options.sparsity);
    const double passed = static_cast<double>(step) / static_cast<double>(options.steps);
    const double rate = first_rate * 0.5 * (1 + std::cos(std::numbers::pi * passed));
    if (adam) {
      Tensor gradient = sums.moves * (-2.0 / static_cast<double>(batch * dim));
      gradient = gradient - (gradient * atoms).sum(1, /*keepdim=*/true) * atoms;
      first_moment = 0.9 * first_moment + 0.1 * gradient;
      second_moment = 0.999 * second_moment + 0.001 * gradient * gradient;
      const auto t = static_cast<double>(step + 1);
      const Tensor change =
          (first_moment / (1 - std::pow(0.9, t))) / ((second_moment / (1 - std::pow(0.999, t))).sqrt() + 1e-12);
      atoms = of_length_one(atoms - rate * change).contiguous();
    } else {
      const Tensor squares = torch::from_blob(const_cast<float*>(sums.squares.data()), {options.atoms, 1}).clone();
      // An atom with few uses knows little: it moves less.
      const Tensor damping = squares.mean() * 0.1 + 1e-20;
      atoms = of_length_one(atoms + rate * sums.moves / (squares + damping)).contiguous();
    }
    // Atoms that nobody has used for a while become the vectors of this batch that are coded worst.
    constexpr int64_t kPatience = 8;
    std::vector<size_t> idle;
    for (size_t atom = 0; atom < unused.size(); ++atom) {
      unused[atom] = sums.uses[atom] > 0 ? 0 : unused[atom] + 1;
      if (unused[atom] >= kPatience) idle.push_back(atom);
    }
    if (!idle.empty() && passed < 0.75) {
      std::vector<size_t> worst(static_cast<size_t>(batch));
      std::iota(worst.begin(), worst.end(), 0);
      const Tensor lengths = codes.residual.norm(2, {1});
      const float* left = lengths.data_ptr<float>();
      std::stable_sort(worst.begin(), worst.end(), [&](size_t a, size_t b) { return left[a] > left[b]; });
      const size_t replaced = std::min({idle.size(), worst.size() / 16, unused.size() / 16});
      for (size_t i = 0; i < replaced; ++i) {
        const auto row = static_cast<int64_t>(worst[i]);
        if (left[row] <= 0) break;
        const auto atom = static_cast<int64_t>(idle[i]);
        atoms[atom].copy_(codes.residual[row] / left[row]);
        first_moment[atom].zero_();
        second_moment[atom].zero_();
        unused[idle[i]] = 0;
      }
    }
    const double error = std::accumulate(codes.errors.begin(), codes.errors.end(), 0.0) / static_cast<double>(batch);
    if (progress && !progress(step + 1, error)) break;
  }
  return atoms;
}

}  // namespace incontext::calibrate
