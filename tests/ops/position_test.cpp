#include "ops/position.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/agreement.h"
#include "support/gradient_check.h"

namespace incontext::ops {
namespace {

using testing::draw;
using torch::Tensor;

Tensor add(const Settings& settings, const std::vector<Tensor>& in) { return add_position(settings, in[0], in[1]); }

TEST(AddPosition, AgreesWithLibtorchInDouble) {
  for (const int64_t positions : {6, 9}) {  // as many as there are tokens, and more
    testing::expect_agreement(add, {draw({5, 6, 7}, "hidden"), draw({positions, 7}, "table")},
                              testing::accumulated(testing::kEpsilonF32, 8, 10));
  }
}

TEST(AddPosition, PositionsThatNoTokenHadGetNoGradient) {
  for (const bool kernels : {true, false}) {
    for (const int64_t positions : {3, 4, 9}) {
      const Tensor hidden = draw({5, 3, 4}, "hidden"), weights = draw({5, 3, 4}, "weights");
      Tensor table = draw({positions, 4}, "table").set_requires_grad(true);
      (add_position({.kernels = kernels}, hidden, table) * weights).sum().backward();
      EXPECT_TENSORS_CLOSE(table.grad().narrow(0, 0, 3).clone(), weights.sum(0),
                           testing::accumulated(testing::kEpsilonF32, 5, 10));
      EXPECT_TENSORS_CLOSE(table.grad().narrow(0, 3, positions - 3).clone(), torch::zeros({positions - 3, 4}),
                           testing::exact());
    }
  }
}

TEST(AddPosition, ReadsAFrozenTableInSixteenBits) {
  for (const auto type : {torch::kBFloat16, torch::kFloat16}) {
    const Tensor table = draw({4, 4}, "table").to(type);
    Tensor hidden = draw({2, 3, 4}, "hidden").set_requires_grad(true);
    const Tensor sum = add_position({}, hidden, table);
    EXPECT_TENSORS_CLOSE(sum.detach(), (hidden + table.to(torch::kFloat32).narrow(0, 0, 3)).detach(), testing::exact());
    sum.sum().backward();
    EXPECT_TENSORS_CLOSE(hidden.grad(), torch::ones({2, 3, 4}), testing::exact());
  }
}

TEST(AddPosition, GradientsByCentralDifferences) {
  EXPECT_GRADIENTS([](const std::vector<Tensor>& in) { return add({}, in); },
                   {draw({2, 3, 2}, "hidden"), draw({4, 2}, "table")},
                   testing::float_gradients({.absolute = 1e-2, .relative = 1e-2}));
}

TEST(AddPosition, RefusesShapesThatDoNotFit) {
  const Tensor hidden = draw({2, 3, 4}, "hidden");
  EXPECT_THROW(add_position({}, hidden, draw({2, 4}, "table")), base::Error);
  EXPECT_THROW(add_position({}, hidden, draw({3, 5}, "table")), base::Error);
  EXPECT_THROW(add_position({}, hidden[0], draw({3, 4}, "table")), base::Error);
}

}  // namespace
}  // namespace incontext::ops
