#include "ops/next_token_loss.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/agreement.h"
#include "support/gradient_check.h"

namespace incontext::ops {
namespace {

using testing::draw;
using torch::Tensor;

Tensor some_targets(int64_t tokens, int64_t vocabulary) {
  return torch::arange(tokens, torch::kInt64).mul(7).add(3).remainder(vocabulary);
}

TEST(NextTokenLoss, AgreesWithLibtorchInDouble) {
  testing::expect_agreement(
      [](const Settings& settings, const std::vector<Tensor>& in) {
        return next_token_loss(settings, in[0], {in[1]}, some_targets(13, 29));
      },
      {draw({13, 8}, "hidden"), draw({29, 8}, "head")}, testing::accumulated(testing::kEpsilonF32, 64, 20));
}

TEST(NextTokenLoss, GradientsByCentralDifferences) {
  EXPECT_GRADIENTS([](const std::vector<Tensor>& in) { return next_token_loss({}, in[0], {in[1]}, some_targets(5, 7)); },
                   {draw({5, 4}, "hidden"), draw({7, 4}, "head")}, testing::float_gradients());
}

// A vocabulary so large that the tokens are taken in several parts.
TEST(NextTokenLoss, PartsAreOneWhole) {
  constexpr int64_t kTokens = 45, kVocabulary = 300000;
  Tensor hidden = draw({kTokens, 2}, "hidden").set_requires_grad(true);
  Tensor head = draw({kVocabulary, 2}, "head").set_requires_grad(true);
  const Tensor targets = some_targets(kTokens, kVocabulary);
  next_token_loss({}, hidden, {head}, targets).backward();
  const std::vector<Tensor> ours = {hidden.grad().clone(), head.grad().clone()};
  hidden.mutable_grad() = Tensor();
  head.mutable_grad() = Tensor();
  // In double: libtorch's sums in fp32 over so many logits differ between its versions by more than ours from these.
  const Tensor whole =
      torch::cross_entropy_loss(torch::matmul(hidden.to(torch::kFloat64), head.to(torch::kFloat64).t()), targets);
  whole.backward();
  const Tensor losses = next_token_losses({}, hidden, {head}, targets);
  EXPECT_NEAR(losses.mean().item<double>(), whole.item<double>(), 1e-5);
  EXPECT_NEAR(next_token_loss({}, hidden, {head}, targets).item<double>(), whole.item<double>(), 1e-5);
  // A token's gradient sums over the vocabulary, with weights that add up to 2 / kTokens.
  EXPECT_TENSORS_CLOSE(ours[0], hidden.grad(), testing::accumulated(testing::kEpsilonF32, kVocabulary, 2.0 / kTokens));
  EXPECT_TENSORS_CLOSE(ours[1], head.grad(), (testing::Tolerance{.absolute = 1e-8, .relative = 1e-4}));
}

TEST(NextTokenLoss, CertaintyCostsNothingAndEvennessTheLogarithm) {
  const Tensor head = torch::eye(4).mul(100), hidden = torch::eye(4);
  EXPECT_NEAR(next_token_loss({}, hidden, {head}, torch::arange(4, torch::kInt64)).item<double>(), 0, 1e-6);
  EXPECT_NEAR(next_token_loss({}, torch::zeros({4, 4}), {head}, torch::arange(4, torch::kInt64)).item<double>(),
              std::log(4.0), 1e-6);
}

TEST(NextTokenLoss, RefusesShapesThatDoNotFit) {
  EXPECT_THROW(next_token_loss({}, draw({3, 4}, "h"), {draw({5, 3}, "w")}, some_targets(3, 5)), base::Error);
  EXPECT_THROW(next_token_loss({}, draw({3, 4}, "h"), {draw({5, 4}, "w")}, some_targets(2, 5)), base::Error);
  EXPECT_THROW(next_token_loss({}, draw({3, 4}, "h"), {draw({5, 4}, "w")}, torch::zeros({3})), base::Error);
}

TEST(NextTokenLoss, FrozenHeadsOf16BitsAreReadWhereTheyLie) {
  const Tensor head = draw({300, 20}, "head").to(torch::kBFloat16), targets = some_targets(13, 300);
  const auto run = [&](const Tensor& matrix) {
    Tensor hidden = draw({13, 20}, "hidden").set_requires_grad(true);
    const Tensor loss = next_token_loss({}, hidden, {matrix}, targets);
    loss.backward();
    return std::pair{loss.detach(), hidden.grad()};
  };
  const auto stored = run(head), widened = run(head.to(torch::kFloat32));
  EXPECT_TENSORS_CLOSE(stored.first, widened.first, testing::accumulated(testing::kEpsilonF32, 600, 10));
  EXPECT_TENSORS_CLOSE(stored.second, widened.second, testing::accumulated(testing::kEpsilonF32, 600, 10));
}

}  // namespace
}  // namespace incontext::ops
