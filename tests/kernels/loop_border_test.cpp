#include "kernels/loop_border.h"

#include <gtest/gtest.h>

#include "kernels/inputs.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::accumulated;
using testing::exact;
using testing::Tolerance;

struct BorderProblem {
  Matrix iterate, input, weight, hidden, prediction, dhidden, later, dprediction, diterate, dinput, dweight, dbias;

  BorderProblem(int64_t rows, int64_t width, std::mt19937& random)
      : iterate(rows, width, 0, 1),
        input(rows, width, 0, 1),
        weight(1, width, 0, 1),
        hidden(rows, width, 0, 1),
        prediction(1, rows / 2),
        dhidden(rows, width, 0, 1),
        later(rows, width, 0, 1),
        dprediction(1, rows / 2),
        diterate(rows, width, 0, 1),
        dinput(rows, width, 0, 1),
        dweight(1, width, 0, 1),
        dbias(1, 1) {
    for (Matrix* m : {&iterate, &input, &weight, &dhidden, &later, &dprediction}) m->fill(random);
  }

  LoopBorderForward forward() {
    return {.rows = iterate.rows(),
            .width = iterate.columns(),
            .iterate = iterate.data(),
            .input = input.data(),
            .weight = weight.data(),
            .bias = 0.25F,
            .hidden = hidden.data(),
            .prediction = prediction.data()};
  }
  LoopBorderBackward backward(bool with_input) {
    return {.rows = iterate.rows(),
            .width = iterate.columns(),
            .dhidden = dhidden.data(),
            .dinput_later = with_input ? later.data() : nullptr,
            .dprediction = dprediction.data(),
            .iterate = iterate.data(),
            .weight = weight.data(),
            .diterate = diterate.data(),
            .dinput = with_input ? dinput.data() : nullptr,
            .dweight = dweight.data(),
            .dbias = dbias.data()};
  }
};

class LoopBorderTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(LoopBorderTest);

void expect_matches_reference(int64_t rows, int64_t width, std::mt19937& random, base::ThreadPool& pool) {
  SCOPED_TRACE(fmt::format("{}x{}", rows, width));
  const bool with_input = width % 3 != 0;
  BorderProblem fast(rows, width, random);
  BorderProblem slow = fast;
  loop_border_forward(fast.forward(), pool);
  ref::loop_border_forward(slow.forward());
  EXPECT_CLOSE(fast.hidden.values(), slow.hidden.values(), exact());
  const auto terms = static_cast<std::size_t>(width + 1);
  EXPECT_CLOSE(fast.prediction.values(), slow.prediction.values(),
               accumulated(testing::kEpsilonF32, terms, static_cast<double>(width) + 1));
  loop_border_backward(fast.backward(with_input), pool);
  ref::loop_border_backward(slow.backward(with_input));
  const Tolerance rounding{.absolute = 3 * testing::kEpsilonF32};
  EXPECT_CLOSE(fast.diterate.values(), slow.diterate.values(), rounding);
  if (with_input) EXPECT_CLOSE(fast.dinput.values(), slow.dinput.values(), rounding);
  const Tolerance sums =
      accumulated(testing::kEpsilonF32, static_cast<std::size_t>(rows), static_cast<double>(rows) + 1);
  EXPECT_CLOSE(fast.dweight.values(), slow.dweight.values(), sums);
  EXPECT_CLOSE(fast.dbias.values(), slow.dbias.values(), sums);
  for (const Matrix* m : {&fast.hidden, &fast.prediction, &fast.diterate, &fast.dweight}) {
    EXPECT_TRUE(m->padding_is_untouched());
  }
}

TEST_P(LoopBorderTest, SweepsWidthsAndRows) {
  for (int64_t width = 1; width <= 35; ++width) expect_matches_reference(4, width, random_, pool_);
  for (const int64_t width : {64, 100, 256}) expect_matches_reference(6, width, random_, pool_);
  for (const int64_t rows : {2, 30, 32, 34, 62, 64, 66, 128, 130, 300, 5000}) {
    expect_matches_reference(rows, 20, random_, pool_);
  }
}

TEST_P(LoopBorderTest, ResultsDoNotDependOnThreads) {
  BorderProblem two(400, 33, random_);
  BorderProblem one = two;
  base::ThreadPool alone(1);
  loop_border_forward(two.forward(), pool_);
  loop_border_forward(one.forward(), alone);
  loop_border_backward(two.backward(true), pool_);
  loop_border_backward(one.backward(true), alone);
  EXPECT_CLOSE(two.prediction.values(), one.prediction.values(), exact());
  EXPECT_CLOSE(two.diterate.values(), one.diterate.values(), exact());
  EXPECT_CLOSE(two.dinput.values(), one.dinput.values(), exact());
  EXPECT_CLOSE(two.dweight.values(), one.dweight.values(), exact());
}

}  // namespace
}  // namespace incontext::kernels
