#include "kernels/omp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/inputs.h"
#include "kernels/storage.h"
#include "support/errors.h"

namespace incontext::kernels {
namespace {

using testing::error_of;

/// Unit atoms, and vectors that are sums of a few of them and noise.
struct OmpCase {
  int64_t atoms, dim, count, sparsity;
  Matrix dictionary, vectors;

  OmpCase(int64_t atom_count, int64_t size, int64_t vector_count, int64_t most, uint32_t seed)
      : atoms(atom_count),
        dim(size),
        count(vector_count),
        sparsity(most),
        dictionary(atom_count, size),
        vectors(vector_count, size, 5) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t n = 0; n < atoms; ++n) {
      double length = 0;
      for (int64_t d = 0; d < dim; ++d) length += std::pow(dictionary.at(n, d) = normal(random), 2);
      for (int64_t d = 0; d < dim; ++d) dictionary.at(n, d) /= static_cast<float>(std::sqrt(length));
    }
    for (int64_t i = 0; i < count; ++i) {
      const float strength = std::exp(2 * normal(random));
      for (int64_t d = 0; d < dim; ++d) vectors.at(i, d) = 0.2F * strength * normal(random);
      for (int part = 0; part < 3; ++part) {
        const auto n = static_cast<int64_t>(random() % static_cast<uint32_t>(atoms));
        const float factor = strength * normal(random) * std::sqrt(static_cast<float>(dim));
        for (int64_t d = 0; d < dim; ++d) vectors.at(i, d) += factor * dictionary.at(n, d);
      }
    }
  }
};

struct OmpResult {
  std::vector<uint16_t> chosen;
  std::vector<float> coefficients;
  std::vector<int32_t> used;
  std::vector<int16_t> codes;
  std::vector<uint16_t> scales;

  friend bool operator==(const OmpResult&, const OmpResult&) = default;
};

OmpResult run_omp(OmpCase& c, Coefficients rounding, float error, base::ThreadPool* pool, int64_t first = 0,
                  int64_t count = -1) {
  if (count < 0) count = c.count - first;
  const auto slots = static_cast<size_t>(count * c.sparsity), rows = static_cast<size_t>(count);
  OmpResult result{std::vector<uint16_t>(slots, 9), std::vector<float>(slots, 9), std::vector<int32_t>(rows, 9),
                   std::vector<int16_t>(slots, 9), std::vector<uint16_t>(rows, 9)};
  const Omp args{.atoms = c.dictionary.data(),
                 .atom_count = c.atoms,
                 .dim = c.dim,
                 .vectors = c.vectors.data() + first * c.vectors.stride(),
                 .stride = c.vectors.stride(),
                 .count = count,
                 .sparsity = c.sparsity,
                 .error = error,
                 .rounding = rounding,
                 .chosen = result.chosen.data(),
                 .coefficients = result.coefficients.data(),
                 .used = result.used.data(),
                 .codes = result.codes.data(),
                 .scales = result.scales.data()};
  if (pool == nullptr) {
    ref::omp(args);
  } else {
    omp(args, *pool);
  }
  return result;
}

/// |x - code| / |x|.
double residual_of(OmpCase& c, const OmpResult& result, int64_t row) {
  double left = 0, length = 0;
  for (int64_t d = 0; d < c.dim; ++d) {
    double made = 0;
    for (int64_t i = 0; i < c.sparsity; ++i) {
      const auto at = static_cast<size_t>(row * c.sparsity + i);
      made += static_cast<double>(result.coefficients[at]) * c.dictionary.at(result.chosen[at], d);
    }
    left += std::pow(c.vectors.at(row, d) - made, 2);
    length += std::pow(c.vectors.at(row, d), 2);
  }
  return std::sqrt(left / length);
}

TEST(Omp, ChoosesAndFitsAsTheReferenceDoes) {
  base::ThreadPool pool(2);
  for (const std::string& set : available_instruction_sets()) {
    force_instruction_set(set);
    for (const auto& [atoms, dim, count, sparsity] : {std::array<int64_t, 4>{4096, 64, 60, 8},
                                                      {4096, 128, 30, 32},
                                                      {1000, 128, 37, 16},
                                                      {17, 5, 40, 5},
                                                      {64, 80, 5, 12},
                                                      {3, 33, 9, 3},
                                                      {1, 8, 4, 1}}) {
      SCOPED_TRACE(fmt::format("{}: {} atoms of {}, sparsity {}", set, atoms, dim, sparsity));
      OmpCase c(atoms, dim, count, sparsity, 5);
      const OmpResult expected = run_omp(c, Coefficients::exact, 0, nullptr);
      const OmpResult result = run_omp(c, Coefficients::exact, 0, &pool);
      int64_t same = 0;
      for (int64_t row = 0; row < count; ++row) {
        const auto begin = static_cast<size_t>(row * sparsity), end = static_cast<size_t>((row + 1) * sparsity);
        EXPECT_NEAR(residual_of(c, result, row), residual_of(c, expected, row), 2e-5) << row;
        // Two atoms that serve equally well but for rounding may trade places.
        if (!std::equal(result.chosen.begin() + static_cast<std::ptrdiff_t>(begin),
                        result.chosen.begin() + static_cast<std::ptrdiff_t>(end),
                        expected.chosen.begin() + static_cast<std::ptrdiff_t>(begin))) {
          continue;
        }
        ++same;
        float largest = 0;
        for (size_t i = begin; i < end; ++i) largest = std::max(largest, std::abs(expected.coefficients[i]));
        for (size_t i = begin; i < end; ++i) {
          EXPECT_NEAR(result.coefficients[i], expected.coefficients[i], 1e-5F * std::max(1.0F, largest)) << row;
        }
      }
      EXPECT_GE(same, count - 1 - count / 20);
    }
  }
  force_instruction_set("");
}

TEST(Omp, ACodeDependsOnItsVectorAlone) {
  base::ThreadPool one(1), three(3);
  OmpCase c(600, 64, 70, 8, 6);
  for (const Coefficients rounding :
       {Coefficients::exact, Coefficients::integer, Coefficients::ladder, Coefficients::ladder6}) {
    const OmpResult all = run_omp(c, rounding, 0, &three);
    EXPECT_EQ(all, run_omp(c, rounding, 0, &one));
    const OmpResult last = run_omp(c, rounding, 0, &one, 69);
    EXPECT_TRUE(std::equal(last.codes.begin(), last.codes.end(), all.codes.end() - c.sparsity));
    EXPECT_TRUE(std::equal(last.chosen.begin(), last.chosen.end(), all.chosen.end() - c.sparsity));
  }
}

TEST(Omp, StopsWhereTheErrorIsSmallEnough) {
  base::ThreadPool pool(2);
  OmpCase c(500, 64, 50, 20, 7);
  for (const float error : {0.1F, 0.4F}) {
    const OmpResult result = run_omp(c, Coefficients::exact, error, &pool);
    EXPECT_EQ(result.used, run_omp(c, Coefficients::exact, error, nullptr).used);
    int64_t fewer = 0;
    for (int64_t row = 0; row < c.count; ++row) {
      const int32_t used = result.used[static_cast<size_t>(row)];
      if (used == c.sparsity) continue;
      ++fewer;
      EXPECT_LE(residual_of(c, result, row), error * 1.0001);
      EXPECT_EQ(result.chosen[static_cast<size_t>(row * c.sparsity + used)], 0);
      EXPECT_EQ(result.coefficients[static_cast<size_t>(row * c.sparsity + used)], 0);
    }
    EXPECT_GT(fewer, 20);
  }
}

TEST(Omp, RoundedCoefficientsCostLittle) {
  base::ThreadPool pool(2);
  OmpCase c(2000, 64, 200, 8, 8);
  const auto mean_residual = [&](Coefficients rounding) {
    const OmpResult result = run_omp(c, rounding, 0, &pool);
    double sum = 0;
    for (int64_t row = 0; row < c.count; ++row) {
      sum += residual_of(c, result, row) / static_cast<double>(c.count);
      for (int64_t i = 0; i < c.sparsity && rounding != Coefficients::exact; ++i) {
        const auto at = static_cast<size_t>(row * c.sparsity + i);
        EXPECT_EQ(result.coefficients[at],
                  coefficient_of(rounding, result.codes[at]) * from_f16(result.scales[static_cast<size_t>(row)]));
      }
    }
    return sum;
  };
  const double exact = mean_residual(Coefficients::exact);
  EXPECT_GT(mean_residual(Coefficients::integer), exact);
  EXPECT_LT(mean_residual(Coefficients::integer), exact * 1.001);
  EXPECT_GT(mean_residual(Coefficients::ladder), exact * 1.005);
  EXPECT_LT(mean_residual(Coefficients::ladder), exact * 1.6);
  EXPECT_LT(mean_residual(Coefficients::ladder5), mean_residual(Coefficients::ladder) * 0.95);
  EXPECT_LT(mean_residual(Coefficients::ladder6), mean_residual(Coefficients::ladder5) * 0.99);
  EXPECT_LT(mean_residual(Coefficients::ladder6), exact * 1.2);
  // As the definition rounds.
  OmpCase few(300, 64, 20, 8, 9);
  for (const Coefficients rounding : {Coefficients::integer, Coefficients::ladder, Coefficients::ladder5}) {
    const OmpResult a = run_omp(few, rounding, 0, &pool), b = run_omp(few, rounding, 0, nullptr);
    int64_t same = 0;
    for (size_t i = 0; i < a.codes.size(); ++i) same += a.codes[i] == b.codes[i] ? 1 : 0;
    EXPECT_GE(same, static_cast<int64_t>(a.codes.size()) * 95 / 100);
  }
}

TEST(Omp, VectorsOfNothingAndOfOneAtomAreDoneEarly) {
  base::ThreadPool pool(2);
  OmpCase c(100, 16, 3, 4, 10);
  for (int64_t d = 0; d < c.dim; ++d) {
    c.vectors.at(0, d) = 0;
    c.vectors.at(1, d) = 3 * c.dictionary.at(42, d);
    c.vectors.at(2, d) = c.dictionary.at(7, d) - 500 * c.dictionary.at(8, d);
  }
  for (base::ThreadPool* each : {&pool, static_cast<base::ThreadPool*>(nullptr)}) {
    const OmpResult result = run_omp(c, Coefficients::ladder, 0, each);
    EXPECT_EQ(result.used[0], 0);
    EXPECT_EQ(result.scales[0], 0);
    EXPECT_EQ(result.used[1], 1);
    EXPECT_EQ(result.chosen[4], 42);
    EXPECT_NEAR(result.coefficients[4], 3, 0.002);
    EXPECT_EQ(result.chosen[8], 8);
    EXPECT_TRUE(
        std::all_of(result.coefficients.begin(), result.coefficients.end(), [](float v) { return std::isfinite(v); }));
  }
  EXPECT_CONTAINS(error_of([&] {
                    c.sparsity = 17;
                    run_omp(c, Coefficients::exact, 0, &pool);
                  }),
                  "a sparsity of 1 to 16, got 100 and 17");
}

}  // namespace
}  // namespace incontext::kernels
