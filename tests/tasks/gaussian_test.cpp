#include "tasks/gaussian.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/close.h"
#include "tensor/torch.h"

namespace incontext::tasks {
namespace {

using testing::Tolerance;

std::vector<float> normals(uint64_t index, size_t count) {
  base::RandomStream stream(11, "test", index);
  std::vector<float> values(count);
  stream.fill_normal(values);
  return values;
}

TEST(FillNormal, IsTheBoxMullerTransformOfTheStream) {
  const std::vector<float> actual = normals(3, 1000);
  base::RandomStream words(11, "test", 3);
  std::vector<float> expected;
  for (size_t pair = 0; pair < 500; ++pair) {
    const double u = (static_cast<double>(words.next_u32() >> 8) + 0.5) * 0x1.0p-24;
    const uint32_t turn = words.next_u32() >> 8;
    // The transform's turn begins half a quarter early, which leaves the distribution as it is.
    const double angle = (static_cast<double>(turn) * 0x1.0p-24 - 0.125) * 2 * M_PI;
    const double radius = std::sqrt(-2 * std::log(u));
    expected.push_back(static_cast<float>(radius * std::cos(angle)));
    expected.push_back(static_cast<float>(radius * std::sin(angle)));
  }
  EXPECT_CLOSE(std::span<const float>(actual), std::span<const float>(expected), (Tolerance{.absolute = 3e-6}));
}

TEST(FillNormal, AShorterSpanIsTheBeginningOfALongerOne) {
  const std::vector<float> full = normals(0, 300);
  for (size_t count = 0; count < 300; ++count) {
    const std::vector<float> part = normals(0, count);
    EXPECT_CLOSE(std::span<const float>(part), std::span<const float>(full).first(count), testing::exact());
  }
}

TEST(FillNormal, TwoCallsDoNotOverlap) {
  base::RandomStream stream(11, "test", 5);
  std::vector<float> first(5), second(8);
  stream.fill_normal(first);
  stream.fill_normal(second);
  const std::vector<float> whole = normals(5, 16);  // the first call used two blocks of four
  EXPECT_CLOSE(std::span<const float>(second), std::span<const float>(whole).subspan(8), testing::exact());
}

TEST(FillNormal, HasTheMomentsOfANormal) {
  const size_t count = 1'000'000;
  const std::vector<float> values = normals(1, count);
  double moments[5] = {};
  for (const float value : values) {
    double power = 1;
    for (int k = 1; k <= 4; ++k) moments[k] += (power *= value) / static_cast<double>(count);
  }
  // Five standard errors: sqrt((E x^2k - (E x^k)^2) / count).
  EXPECT_NEAR(moments[1], 0, 5e-3);
  EXPECT_NEAR(moments[2], 1, 5 * std::sqrt(2.0) * 1e-3);
  EXPECT_NEAR(moments[3], 0, 5 * std::sqrt(15.0) * 1e-3);
  EXPECT_NEAR(moments[4], 3, 5 * std::sqrt(96.0) * 1e-3);
}

TEST(RandomOrthonormal, HasOrthonormalRows) {
  base::RandomStream stream(1, "test", 0);
  std::vector<double> basis = random_orthonormal(stream, 7, 20);
  const torch::Tensor rows = torch::from_blob(basis.data(), {7, 20}, torch::kFloat64);
  const torch::Tensor gram = rows.matmul(rows.t()).contiguous();
  const torch::Tensor identity = torch::eye(7, torch::kFloat64);
  EXPECT_CLOSE(std::span<const double>(gram.data_ptr<double>(), 49),
               std::span<const double>(identity.data_ptr<double>(), 49), (Tolerance{.absolute = 1e-14}));
}

TEST(Gaussian, DrawsItsCovariance) {
  constexpr int64_t kDims = 4, kPoints = 200'000;
  base::RandomStream stream(2, "test", 0);
  const std::vector<double> basis = random_orthonormal(stream, kDims, kDims);
  const std::vector<double> eigenvalues{4, 2, 1, 0.5};
  const Gaussian gaussian(kDims, eigenvalues, basis);
  torch::Tensor xs = torch::empty({kPoints, kDims});
  gaussian.draw(stream, kDims, {xs.data_ptr<float>(), static_cast<size_t>(xs.numel())});
  const torch::Tensor x = xs.to(torch::kFloat64);
  const torch::Tensor measured = x.t().matmul(x) / kPoints;
  for (int64_t a = 0; a < kDims; ++a) {
    for (int64_t b = 0; b < kDims; ++b) {
      double expected = 0;
      for (size_t k = 0; k < 4; ++k) {
        expected += eigenvalues[k] * basis[4 * k + static_cast<size_t>(a)] * basis[4 * k + static_cast<size_t>(b)];
      }
      EXPECT_NEAR(measured[a][b].item<double>(), expected, 5 * 4 * std::sqrt(2.0 / kPoints));
      if (a == b) {
        EXPECT_NEAR(gaussian.variance(a), expected, 1e-6);
      }
    }
  }
}

}  // namespace
}  // namespace incontext::tasks
