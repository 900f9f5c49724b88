#include "support/tensor_close.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tensor/torch.h"

namespace incontext::testing {
namespace {

bool close(const torch::Tensor& actual, const torch::Tensor& expected, Tolerance tolerance = exact()) {
  return compare(actual, expected, tolerance).empty();
}

TEST(TensorClose, AcceptsWhatIsClose) {
  EXPECT_TRUE(close(torch::tensor({1.0f, 2.0f}), torch::tensor({1.0f, 2.05f}), {.absolute = 0.1}));
  EXPECT_TRUE(close(torch::zeros({0, 3}), torch::zeros({0, 3})));
  EXPECT_TRUE(close(torch::tensor(2.0), torch::tensor(2.0)));
  EXPECT_TRUE(close(torch::tensor({true, false}), torch::tensor({true, false})));
  for (const auto dtype : {torch::kFloat64, torch::kFloat32, torch::kFloat16, torch::kBFloat16, torch::kComplexFloat}) {
    EXPECT_TRUE(close(torch::full({2, 3}, 1.5, dtype), torch::full({2, 3}, 1.5, dtype)));
    EXPECT_FALSE(close(torch::full({2, 3}, 1.5, dtype), torch::full({2, 3}, 1.25, dtype)));
  }
}

TEST(TensorClose, ComparesStridedTensorsByElement) {
  const torch::Tensor a = torch::arange(6, torch::kFloat32).reshape({2, 3});
  const torch::Tensor transposed = a.t();
  EXPECT_TRUE(close(transposed, a.clone().t().contiguous()));
  EXPECT_FALSE(close(transposed, a.clone().reshape({3, 2})));
}

TEST(TensorClose, RefusesOtherShapesAndTypes) {
  const Tolerance loose{.absolute = 1e30};
  EXPECT_FALSE(close(torch::zeros({2, 3}), torch::zeros({3, 2}), loose));
  EXPECT_FALSE(close(torch::zeros({2, 3}), torch::zeros({6}), loose));
  EXPECT_FALSE(close(torch::zeros({1}), torch::zeros({}), loose));
  EXPECT_FALSE(close(torch::zeros({2}, torch::kFloat64), torch::zeros({2}), loose));
  EXPECT_FALSE(close(torch::Tensor(), torch::zeros({2}), loose));
  EXPECT_FALSE(close(torch::zeros({2}), torch::Tensor(), loose));
  EXPECT_NE(compare(torch::zeros({2, 3}), torch::zeros({6}), loose).find("expected Float [6], got Float [2, 3]"),
            std::string::npos);
}

TEST(TensorClose, RefusesNaNWrongIntegersAndTheSameMemory) {
  const Tolerance loose{.absolute = 1e30};
  EXPECT_FALSE(close(torch::full({2}, NAN), torch::full({2}, NAN), loose));
  EXPECT_FALSE(close(torch::tensor({1, 2}), torch::tensor({1, 3}), loose)) << "integers are equal or not";
  const int64_t large = (int64_t{1} << 53) + 1;
  EXPECT_FALSE(close(torch::full({1}, large, torch::kInt64), torch::full({1}, large - 1, torch::kInt64)));
  const torch::Tensor a = torch::ones({3});
  EXPECT_FALSE(close(a, a, loose));
  EXPECT_FALSE(close(a, a.view({3}), loose));
}

TEST(TensorClose, NamesTheWorstElement) {
  const std::string message = compare(torch::tensor({1.0f, 5.0f}), torch::tensor({1.0f, 3.0f}), exact());
  EXPECT_NE(message.find("Float [2]: worst at index 1 of 2: expected 3, got 5"), std::string::npos) << message;
}

}  // namespace
}  // namespace incontext::testing
