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
