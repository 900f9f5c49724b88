#include "tasks/shifted_prompts.h"

#include <gtest/gtest.h>

#include "support/close.h"
#include "tasks/values.h"

namespace incontext::tasks {
namespace {

using testing::Tolerance;

const Draw kDraw{.seed = 4, .purpose = "eval", .batch = 30, .points = 10};
const Draw kTruncated{.seed = 4, .purpose = "eval", .batch = 30, .points = 6, .active_dims = 6};

Prompts draw(PromptKind kind, const Draw& request = kDraw, double factor = 3, double noise = 1) {
  return sample_prompts(*make_task({}), {.kind = kind, .factor = factor, .noise = noise}, request);
}

class EveryKind : public ::testing::TestWithParam<PromptKind> {};
INSTANTIATE_TEST_SUITE_P(Names, EveryKind, ::testing::ValuesIn(base::values_of<PromptKind>()),
                         [](const auto& instance) { return std::string(base::name_of(instance.param)); });

TEST_P(EveryKind, LabelsAreTheFunctionsValues) {
  for (const Draw& request : {kDraw, kTruncated}) {
    const Prompts prompts = draw(GetParam(), request, 3, 0);
    const torch::Tensor w = make_task({})->sample_functions(request).unsqueeze(2);
    const torch::Tensor ys = prompts.xs.matmul(w).squeeze(2).contiguous();
    const torch::Tensor query_ys = prompts.query_xs.matmul(w).squeeze(2).contiguous();
    EXPECT_CLOSE(values(prompts.ys), values(ys), (Tolerance{.absolute = 1e-4}));
    EXPECT_CLOSE(values(prompts.query_ys), values(query_ys), (Tolerance{.absolute = 1e-4}));
    EXPECT_EQ(prompts.query_in_sequence, prompts.query_xs.is_same(prompts.xs));
    const int64_t active = request.active_dims == 0 ? 20 : request.active_dims;
    if (active < 20) {
      EXPECT_EQ(prompts.query_xs.narrow(2, active, 20 - active).abs().max().item<float>(), 0);
    }
  }
}

TEST_P(EveryKind, DoesNotDependOnBatchesThreadsOrLaterPoints) {
  const Prompts whole = draw(GetParam());
  base::ThreadPool pool(2);
  const Prompts threaded = sample_prompts(*make_task({}), {.kind = GetParam()}, kDraw, &pool);
  EXPECT_CLOSE(values(threaded.query_xs), values(whole.query_xs), testing::exact());
  Draw one = kDraw;
  one.first_index = 17;
  one.batch = 1;
  one.points = 7;
  const Prompts part = draw(GetParam(), one);
  const auto same = [](const torch::Tensor& actual, const torch::Tensor& all) {
    const torch::Tensor expected = all.narrow(0, 17, 1).narrow(1, 0, 7).contiguous();
    EXPECT_CLOSE(values(actual), values(expected), testing::exact());
  };
  same(part.xs, whole.xs);
  same(part.ys, whole.ys);
  same(part.query_xs, whole.query_xs);
  same(part.query_ys, whole.query_ys);
}

TEST(ShiftedPrompts, StandardIsTheTaskItself) {
  const Batch batch = make_task({})->sample(kDraw);
  const Prompts prompts = draw(PromptKind::standard);
  EXPECT_CLOSE(values(prompts.xs), values(batch.xs), testing::exact());
  EXPECT_CLOSE(values(prompts.ys), values(batch.ys), testing::exact());
}

TEST(ShiftedPrompts, ScaledInputsAreScaled) {
  for (const double factor : {1.0 / 3, 0.5, 2.0}) {
    const torch::Tensor expected = (draw(PromptKind::standard).xs * factor).contiguous();
    EXPECT_CLOSE(values(draw(PromptKind::scaled_inputs, kDraw, factor).xs), values(expected),
                 (Tolerance{.relative = 1e-6}));
  }
}

TEST(ShiftedPrompts, SkewedCovarianceFallsWithTheSquare) {
  Draw request{.seed = 4, .batch = 3, .points = 40'000, .active_dims = 8};
  const torch::Tensor xs = draw(PromptKind::skewed_covariance, request).xs.narrow(2, 0, 8).to(torch::kFloat64);
  const torch::Tensor covariance = xs.transpose(1, 2).matmul(xs) / 40'000;
  const torch::Tensor eigenvalues = torch::linalg_eigvalsh(covariance).flip(1);
  double total = 0;
  for (int k = 1; k <= 8; ++k) total += 1.0 / (k * k);
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t k = 0; k < 8; ++k) {
      const double expected = 8 / total / static_cast<double>((k + 1) * (k + 1));
      EXPECT_NEAR(eigenvalues[i][k].item<double>() / expected, 1, 0.06);
    }
  }
  EXPECT_GT((covariance[0] - covariance[1]).abs().max().item<double>(), 0.5) << "every prompt has its own eigenbasis";
}

TEST(ShiftedPrompts, HalfSubspaceHasHalfTheRankAndTheSameLength) {
  Draw request{.seed = 4, .batch = 50, .points = 60};
  const torch::Tensor xs = draw(PromptKind::half_subspace, request).xs.to(torch::kFloat64);
  const torch::Tensor singular = torch::linalg_svdvals(xs);
  EXPECT_GT(singular.select(1, 9).min().item<double>(), 1);
  EXPECT_LT(singular.select(1, 10).max().item<double>(), 1e-4);
  EXPECT_NEAR(xs.pow(2).sum(2).mean().item<double>(), 20, 1);
}

TEST(ShiftedPrompts, LabelNoiseIsInContextOnly) {
  Draw request{.seed = 4, .batch = 1000, .points = 10};
  const Prompts prompts = draw(PromptKind::label_noise, request, 3, 0.5);
  const torch::Tensor clean = draw(PromptKind::standard, request).ys;
  EXPECT_CLOSE(values(prompts.query_ys), values(clean), testing::exact());
  EXPECT_NEAR((prompts.ys - clean).std().item<double>(), 0.5, 0.02);
}

TEST(ShiftedPrompts, OrthantsHaveOneSignPattern) {
  const torch::Tensor standard = draw(PromptKind::standard).xs;
  for (const PromptKind kind : {PromptKind::random_orthant, PromptKind::opposite_orthant}) {
    const Prompts prompts = draw(kind);
    const torch::Tensor signs = prompts.xs.sign();
    EXPECT_TRUE(signs.eq(signs.narrow(1, 0, 1)).all().item<bool>());
    EXPECT_TRUE(prompts.xs.abs().equal(standard.abs()));
    EXPECT_NEAR(signs.select(1, 0).mean().item<double>(), 0, 5 / std::sqrt(600.0)) << "all orthants are as likely";
  }
  EXPECT_TRUE(draw(PromptKind::random_orthant).query_xs.equal(standard));
  const Prompts opposite = draw(PromptKind::opposite_orthant);
  EXPECT_TRUE(opposite.query_xs.equal(-opposite.xs));
}

TEST(ShiftedPrompts, OrthogonalQueriesAre) {
  Draw request{.seed = 4, .batch = 20, .points = 20};
  const Prompts prompts = draw(PromptKind::orthogonal_query, request);
  const torch::Tensor products = prompts.query_xs.matmul(prompts.xs.transpose(1, 2));  // [batch, query, example]
  EXPECT_LT(products.tril(-1).abs().max().item<float>(), 1e-3);
  EXPECT_GT(products.diagonal(0, 1, 2).abs().mean().item<float>(), 1) << "a query is not orthogonal to what follows";
  const torch::Tensor lengths = prompts.query_xs.norm(2, 2), old = prompts.xs.norm(2, 2).contiguous();
  EXPECT_CLOSE(values(lengths.contiguous()), values(old), (Tolerance{.relative = 1e-5}));
  request.points = 21;
  try {
    draw(PromptKind::orthogonal_query, request);
    FAIL() << "expected an Error";
  } catch (const base::Error& error) {
    EXPECT_STREQ(error.what(),
                 "[prompts] orthogonal_query: expected at most as many points as active dims = 20, got 21");
  }
}

TEST(ShiftedPrompts, OverlappingQueriesAreEarlierExamples) {
  const Prompts prompts = draw(PromptKind::overlapping_query);
  std::vector<int64_t> chosen(10, 0);
  for (int64_t b = 0; b < 30; ++b) {
    for (int64_t i = 0; i < 10; ++i) {
      const torch::Tensor equal = prompts.xs[b].eq(prompts.query_xs[b][i]).all(1);
      ASSERT_EQ(equal.sum().item<int64_t>(), 1);
      const int64_t source = equal.to(torch::kInt64).argmax().item<int64_t>();
      EXPECT_LE(source, std::max<int64_t>(i - 1, 0));
      if (i == 9) ++chosen[static_cast<size_t>(source)];
    }
  }
  EXPECT_LT(*std::max_element(chosen.begin(), chosen.end()), 15) << "of 30 choices among 9";
}

TEST(ShiftedPrompts, WithQueryAsksAfterTheExamples) {
  const Prompts prompts = draw(PromptKind::opposite_orthant);
  const Batch batch = with_query(prompts, 4);
  EXPECT_EQ(batch.xs.sizes(), (std::vector<int64_t>{30, 5, 20}));
  EXPECT_TRUE(batch.xs.narrow(1, 0, 4).equal(prompts.xs.narrow(1, 0, 4)));
  EXPECT_TRUE(batch.xs.select(1, 4).equal(prompts.query_xs.select(1, 4)));
  EXPECT_TRUE(batch.ys.select(1, 4).equal(prompts.query_ys.select(1, 4)));
  EXPECT_THROW(with_query(prompts, 10), base::Error);
}

}  // namespace
}  // namespace incontext::tasks
