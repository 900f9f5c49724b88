#include "kernels/optimizer.h"

#include <gtest/gtest.h>

#include <array>

#include "kernels/inputs.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::exact;
using testing::Tolerance;

struct OptimizerProblem {
  std::vector<std::array<Matrix, 4>> tensors;  // parameter, gradient, first and second moment

  OptimizerProblem(const std::vector<int64_t>& sizes, std::mt19937& random) {
    for (const int64_t size : sizes) {
      std::array<Matrix, 4> set{Matrix(1, size, 0, 1), Matrix(1, size, 0, 1), Matrix(1, size, 0, 1),
                                Matrix(1, size, 0, 1)};
      for (Matrix& m : set) m.fill(random);
      for (int64_t j = 0; j < size; ++j) set[3].at(0, j) = std::fabs(set[3].at(0, j));
      tensors.push_back(set);
    }
  }
  std::vector<AdamParameter> parameters() {
    std::vector<AdamParameter> all;
    for (auto& set : tensors)
      all.push_back({set[0].data(), set[1].data(), set[2].data(), set[3].data(), set[0].columns()});
    return all;
  }
};

class OptimizerTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(OptimizerTest);

TEST_P(OptimizerTest, StepsLikeTheReference) {
  const std::vector<int64_t> sizes{0, 1, 2, 7, 8, 9, 15, 16, 17, 33, 16384, 16385, 40000};
  for (const bool decoupled : {false, true}) {
    OptimizerProblem fast(sizes, random_);
    OptimizerProblem slow = fast;
    const AdamStep step{.learning_rate = 0.01,
                        .beta1 = 0.9,
                        .beta2 = 0.99,
                        .weight_decay = 0.1,
                        .decoupled = decoupled,
                        .gradient_scale = 0.5,
                        .correction1 = 0.19,
                        .correction2 = 0.03};
    adam_step(step, fast.parameters(), pool_);
    for (const AdamParameter& parameter : slow.parameters()) ref::adam_step(step, parameter);
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      for (const std::size_t tensor : {0U, 1U, 2U, 3U}) {
        EXPECT_CLOSE(fast.tensors[i][tensor].values(), slow.tensors[i][tensor].values(),
                     (Tolerance{.absolute = 3e-7, .relative = 1e-6}));
        EXPECT_TRUE(fast.tensors[i][tensor].padding_is_untouched());
      }
    }
  }
}

TEST_P(OptimizerTest, NormIsThatOfTheReferenceForAnyThreads) {
  OptimizerProblem problem({0, 1, 3, 17, 16385, 50000}, random_);
  const double expected = ref::squared_norm(problem.parameters());
  std::vector<double> results;
  for (const int threads : {1, 2, 3, 5}) {
    base::ThreadPool pool(threads);
    results.push_back(squared_norm(problem.parameters(), pool));
  }
  EXPECT_CLOSE(results, std::vector<double>(4, expected), (Tolerance{.relative = 1e-12}));
  EXPECT_CLOSE(results, std::vector<double>(4, results[0]), exact());
}

TEST(OptimizerReference, FirstStepMovesByTheLearningRate) {
  // m / correction1 = g and v / correction2 = g², hence a step of learning_rate * sign(g).
  std::vector<float> p{1, 1}, g{4, -0.25F}, m{0, 0}, v{0, 0};
  const AdamStep step{.learning_rate = 0.125F, .beta1 = 0.5F, .beta2 = 0.75F, .correction1 = 0.5, .correction2 = 0.25};
  ref::adam_step(step, {p.data(), g.data(), m.data(), v.data(), 2});
  EXPECT_CLOSE(p, (std::vector<float>{0.875F, 1.125F}), (Tolerance{.absolute = 1e-6}));
}

TEST(OptimizerReference, DecayIsCoupledOrNot) {
  for (const bool decoupled : {false, true}) {
    std::vector<float> p{2}, g{0}, m{0}, v{0};
    const AdamStep step{
        .learning_rate = 0.5, .weight_decay = 0.25F, .decoupled = decoupled, .correction1 = 0.1, .correction2 = 0.001F};
    ref::adam_step(step, {p.data(), g.data(), m.data(), v.data(), 1});
    EXPECT_NEAR(static_cast<double>(p[0]), decoupled ? 2 - 0.5 * 0.25 * 2 : 2 - 0.5, 1e-4);
  }
}

}  // namespace
}  // namespace incontext::kernels
