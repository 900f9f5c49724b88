#include "kernels/norm.h"

#include <gtest/gtest.h>

#include "kernels/inputs.h"
#include "kernels/stored.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::accumulated;
using testing::exact;
using testing::Tolerance;

struct NormProblem {
  NormKind kind;
  Matrix x, gamma, beta, mean, rstd, past, dx, dgamma, dbeta;
  StoredMatrix y, dy;

  NormProblem(NormKind k, int64_t rows, int64_t width, std::mt19937& random, Storage storage = Storage::f32,
              int64_t offset = 1)
      : kind(k),
        x(rows, width, 0, offset),
        gamma(1, width, 0, offset),
        beta(1, width, 0, offset),
        mean(1, rows),
        rstd(1, rows),
        past(rows, width, 0, offset),
        dx(rows, width, 0, offset),
        dgamma(1, width, 0, offset),
        dbeta(1, width, 0, offset),
        y(storage, rows, width, 0, offset),
        dy(storage, rows, width, 0, offset) {
    for (Matrix* m : {&x, &gamma, &beta, &past}) m->fill(random);
    dy.fill(random);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < width; ++j) x.at(i, j) += 2;  // a mean that does not vanish
    }
  }

  NormForward forward(bool with_beta = true) {
    return {.kind = kind,
            .rows = x.rows(),
            .width = x.columns(),
            .epsilon = 1e-5F,
            .x = x.data(),
            .gamma = gamma.data(),
            .beta = with_beta ? beta.data() : nullptr,
            .y = y.array(),
            .mean = mean.data(),
            .rstd = rstd.data()};
  }
  NormBackward backward(bool with_past = true, bool with_beta = true, const Reads& reads = {}) {
    return {.kind = kind,
            .rows = x.rows(),
            .width = x.columns(),
            .dy = dy.array(),
            .x = x.data(),
            .gamma = gamma.data(),
            .mean = mean.data(),
            .rstd = rstd.data(),
            .residual_gradient = with_past ? past.data() : nullptr,
            .dx = dx.data(),
            .dgamma = dgamma.data(),
            .dbeta = with_beta ? dbeta.data() : nullptr,
            .residual_reads = reads};
  }
};

void expect_matches_reference(NormKind kind, int64_t rows, int64_t width, bool extras, std::mt19937& random,
                              base::ThreadPool& pool, Storage storage = Storage::f32) {
  SCOPED_TRACE(fmt::format("kind {} {}x{} extras {} bf16 {}", static_cast<int>(kind), rows, width, extras,
                           storage == Storage::bf16));
  NormProblem fast(kind, rows, width, random, storage);
  NormProblem slow = fast;
  norm_forward(fast.forward(extras), pool);
  ref::norm_forward(slow.forward(extras));
  // Width 1 makes rstd 1/sqrt(epsilon) = 316; differences of values near 2 are magnified by it.
  const Tolerance tolerance{.absolute = width < 4 ? 2e-4 : 1e-5, .relative = width < 4 ? 2e-3 : 1e-5};
  Tolerance rounded = tolerance;
  if (storage == Storage::bf16) rounded.relative = 0x1p-7;
  EXPECT_CLOSE(fast.y.values(), slow.y.values(), rounded);
  EXPECT_CLOSE(fast.rstd.values(), slow.rstd.values(), tolerance);
  if (kind == NormKind::layer) EXPECT_CLOSE(fast.mean.values(), slow.mean.values(), tolerance);
  EXPECT_TRUE(fast.y.padding_is_untouched());
  slow.mean = fast.mean;
  slow.rstd = fast.rstd;
  norm_backward(fast.backward(extras, extras), pool);
  ref::norm_backward(slow.backward(extras, extras));
  EXPECT_CLOSE(fast.dx.values(), slow.dx.values(), (Tolerance{.absolute = width < 4 ? 2e-4 : 2e-6, .relative = 1e-5}));
  const Tolerance sums =
      accumulated(testing::kEpsilonF32, static_cast<std::size_t>(rows), static_cast<double>(rows) + 1);
  EXPECT_CLOSE(fast.dgamma.values(), slow.dgamma.values(), sums);
  if (extras) EXPECT_CLOSE(fast.dbeta.values(), slow.dbeta.values(), sums);
  EXPECT_TRUE(fast.dx.padding_is_untouched());
  EXPECT_TRUE(fast.dgamma.padding_is_untouched());
}

class NormTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(NormTest);

TEST_P(NormTest, SweepsWidthsAndRows) {
  for (const NormKind kind : {NormKind::layer, NormKind::rms}) {
    for (int64_t width = 1; width <= 35; ++width)
      expect_matches_reference(kind, 3, width, width % 2 == 0, random_, pool_,
                               width % 3 == 0 ? Storage::bf16 : Storage::f32);
    for (const int64_t width : {64, 100, 256, 1000}) {
      for (const Storage storage : {Storage::f32, Storage::bf16}) {
        expect_matches_reference(kind, 5, width, true, random_, pool_, storage);
      }
    }
    for (const int64_t rows : {1, 31, 32, 33, 63, 64, 65, 300, 5000}) {
      expect_matches_reference(kind, rows, 20, rows % 2 == 0, random_, pool_);
    }
  }
}

// In several pieces of rows.
TEST_P(NormTest, SomeRowsGoOn) {
  for (const Reads& reads : {Reads{0, 2}, {0, 3}, {0, 50}, {1, 3}, {40, 41}, {150, 151}, {7, 2}, {30, 1}}) {
    NormProblem some(NormKind::layer, 200, 24, random_);
    norm_forward(some.forward(), pool_);
    NormProblem all = some;
    for (int64_t row = 0; row < 200; ++row) {
      for (int64_t j = 0; j < 24; ++j) all.past.at(row, j) = 0;
    }
    for (int64_t read = 0; read < reads.count(200); ++read) {
      for (int64_t j = 0; j < 24; ++j) all.past.at(reads.token(read), j) = some.past.at(read, j);
    }
    NormProblem slow = some;
    norm_backward(all.backward(), pool_);
    norm_backward(some.backward(true, true, reads), pool_);
    ref::norm_backward(slow.backward(true, true, reads));
    EXPECT_CLOSE(some.dx.values(), all.dx.values(), exact());
    EXPECT_CLOSE(slow.dx.values(), all.dx.values(), (Tolerance{.absolute = 2e-6, .relative = 1e-5}));
  }
}

TEST_P(NormTest, ResidualGradientMayBeTheResultItself) {
  NormProblem apart(NormKind::layer, 9, 40, random_);
  norm_forward(apart.forward(), pool_);
  NormProblem in_place = apart;
  in_place.dx = in_place.past;
  norm_backward(apart.backward(), pool_);
  NormBackward args = in_place.backward();
  args.residual_gradient = args.dx;
  norm_backward(args, pool_);
  EXPECT_CLOSE(in_place.dx.values(), apart.dx.values(), exact());
}

TEST_P(NormTest, BitsDoNotDependOnThreads) {
  NormProblem first(NormKind::layer, 1000, 64, random_);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 3, 5}) {
    base::ThreadPool pool(threads);
    NormProblem problem = first;
    norm_forward(problem.forward(), pool);
    norm_backward(problem.backward(), pool);
    results.push_back(problem.y.values());
    for (const Matrix* m : {&problem.dx, &problem.dgamma, &problem.dbeta}) {
      for (const float value : m->values()) results.back().push_back(value);
    }
  }
  for (std::size_t i = 1; i < results.size(); ++i) EXPECT_CLOSE(results[i], results[0], exact());
}

TEST(NormReference, BackwardIsTheJacobianOfForward) {
  for (const NormKind kind : {NormKind::layer, NormKind::rms}) {
    std::mt19937 random(5);
    NormProblem problem(kind, 3, 6, random);
    ref::norm_forward(problem.forward());
    ref::norm_backward(problem.backward(false));
    const auto loss = [&] {
      ref::norm_forward(problem.forward());
      double sum = 0;
      for (int64_t i = 0; i < 3; ++i) {
        for (int64_t j = 0; j < 6; ++j) {
          sum += static_cast<double>(problem.y.at(i, j)) * static_cast<double>(problem.dy.at(i, j));
        }
      }
      return sum;
    };
    const auto expect_slopes = [&](Matrix& input, const Matrix& gradient) {
      std::vector<double> numeric, analytic;
      for (const float g : gradient.values()) analytic.push_back(static_cast<double>(g));
      for (int64_t i = 0; i < input.rows(); ++i) {
        for (int64_t j = 0; j < input.columns(); ++j) {
          const float kept = input.at(i, j);
          const float step = 0x1p-9F;
          input.at(i, j) = kept + step;
          const double above = loss();
          input.at(i, j) = kept - step;
          const double below = loss();
          input.at(i, j) = kept;
          numeric.push_back((above - below) / (2 * static_cast<double>(step)));
        }
      }
      EXPECT_CLOSE(analytic, numeric, (Tolerance{.absolute = 5e-4, .relative = 1e-3}));
    };
    expect_slopes(problem.x, problem.dx);
    expect_slopes(problem.gamma, problem.dgamma);
    expect_slopes(problem.beta, problem.dbeta);
  }
}

}  // namespace
}  // namespace incontext::kernels
