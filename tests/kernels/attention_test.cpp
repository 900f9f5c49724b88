#include "kernels/attention.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/attention_case.h"
#include "kernels/inputs.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::exact;
using testing::Tolerance;

void expect_matches_reference(const AttentionShape& shape, std::mt19937& random, base::ThreadPool& pool) {
  SCOPED_TRACE(name_of(shape));
  AttentionProblem fast(shape, random);
  AttentionProblem slow = fast;
  attention_forward(fast.forward(), pool);
  ref::attention_forward(slow.forward());
  // Means of values below 1 with scores below 3 sqrt(head_dim): a few rounding errors of the scores.
  const Tolerance tolerance{.absolute = 2e-6 + 2e-7 * std::sqrt(static_cast<double>(shape.head_dim)), .relative = 1e-6};
  EXPECT_CLOSE(fast.out.values(), slow.out.values(), tolerance);
  EXPECT_CLOSE(fast.lse, slow.lse, tolerance);
  EXPECT_TRUE(fast.out.padding_is_untouched());
  attention_backward(fast.backward(), pool);
  ref::attention_backward(slow.backward());
  // Gradients are sums over up to time * group terms of at most head_dim.
  const double terms = static_cast<double>(shape.time * shape.heads / shape.kv_heads);
  const Tolerance wide{.absolute = 2e-6 * std::sqrt(static_cast<double>(shape.head_dim)) * std::sqrt(terms + 1),
                       .relative = 4e-6};
  EXPECT_CLOSE(fast.dqkv.values(), slow.dqkv.values(), wide);
  EXPECT_TRUE(fast.dqkv.padding_is_untouched());
}

class AttentionTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(AttentionTest);

TEST_P(AttentionTest, SweepsTimes) {
  for (int64_t time = 0; time <= 36; ++time) {
    expect_matches_reference(make_shape(2, time, 2, 2, 32, time % 3 != 0), random_, pool_);
  }
  for (const int64_t time : {47, 48, 49, 63, 64, 65, 81, 82, 83, 100}) {
    expect_matches_reference(make_shape(1, time, 2, 1, 32, true), random_, pool_);
    expect_matches_reference(make_shape(1, time, 1, 1, 16, false), random_, pool_);
  }
}

TEST_P(AttentionTest, SweepsHeadSizes) {
  for (const int64_t head_dim : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 48, 64, 80, 96, 127, 256}) {
    expect_matches_reference(make_shape(1, 21, 2, 1, head_dim, true), random_, pool_);
    expect_matches_reference(make_shape(1, 14, 1, 1, head_dim, false), random_, pool_);
  }
}

TEST_P(AttentionTest, GroupsQueries) {
  for (const int64_t kv_heads : {1, 2, 3, 6}) {
    for (const bool causal : {false, true}) {
      expect_matches_reference(make_shape(2, 23, 6, kv_heads, 8, causal), random_, pool_);
    }
  }
}

TEST_P(AttentionTest, SomeTokensAreRead) {
  for (const bool causal : {false, true}) {
    for (const Reads& reads : {Reads{0, 2}, {0, 3}, {0, 7}, {1, 3}, {5, 7}, {11, 1}, {4, 2}}) {
      for (int64_t time = 0; time <= 30; ++time) {
        if (time > 0 && time <= reads.first) continue;  // nothing is read
        expect_matches_reference(make_shape(1, time, 2, 1, 8, causal, reads), random_, pool_);
      }
      // In several blocks of queries, and in two cuts.
      expect_matches_reference(make_shape(1, 1000, 1, 1, 8, causal, reads), random_, pool_);
      if (!reads.regular(42)) continue;
      expect_matches_reference(make_shape(2, 42, 4, 2, 32, causal, reads), random_, pool_);
    }
    expect_matches_reference(make_shape(2, 82, 2, 2, 32, causal, {0, 2}), random_, pool_);
    expect_matches_reference(make_shape(1, 1100, 1, 1, 8, causal, {0, 2}), random_, pool_);
    expect_matches_reference(make_shape(2, 82, 2, 1, 32, causal, {81, 82}), random_, pool_);  // the last token
  }
}

TEST_P(AttentionTest, TokensSeeAWindow) {
  for (const int64_t window : {1, 2, 5, 8, 16, 17, 31, 40, 100}) {
    for (const int64_t time : {1, 2, 15, 16, 17, 33, 50, 82}) {
      expect_matches_reference(make_shape(2, time, 2, 1, 8, true, {}, window), random_, pool_);
    }
    // In several blocks of queries, and in two cuts.
    expect_matches_reference(make_shape(1, 700, 2, 1, 16, true, {}, window), random_, pool_);
    for (const Reads& reads : {Reads{0, 2}, {1, 3}, {2, 3}, {40, 50}, {3, 2}}) {
      expect_matches_reference(make_shape(1, 100, 2, 1, 8, true, reads, window), random_, pool_);
      expect_matches_reference(make_shape(1, 1300, 1, 1, 8, true, reads, window), random_, pool_);
    }
  }
}

TEST_P(AttentionTest, AWindowOfAllTokensChangesNoBit) {
  AttentionProblem whole(make_shape(2, 400, 2, 1, 16, true), random_);
  AttentionProblem windowed = whole;
  windowed.shape.window = 400;
  for (AttentionProblem* problem : {&whole, &windowed}) {
    attention_forward(problem->forward(), pool_);
    attention_backward(problem->backward(), pool_);
  }
  EXPECT_CLOSE(windowed.out.values(), whole.out.values(), exact());
  EXPECT_CLOSE(windowed.dqkv.values(), whole.dqkv.values(), exact());
}

TEST_P(AttentionTest, KeysOutsideOfTheWindowAreNotRead) {
  AttentionProblem problem(make_shape(1, 90, 1, 1, 8, true, {}, 20), random_);
  problem.qkv.set(7, 8, kNaN);  // a key
  attention_forward(problem.forward(), pool_);
  for (int64_t i = 0; i < 90; ++i) EXPECT_EQ(std::isnan(problem.out.at(i, 3)), i >= 7 && i < 27) << i;
}

TEST(AttentionChecks, RefuseWhatCannotBeRead) {
  base::ThreadPool pool(1);
  std::mt19937 random(1);
  const AttentionShape good = make_shape(1, 4, 1, 1, 2, true);
  AttentionProblem problem(good, random);
  const auto run = [&](const AttentionShape& shape) {
    AttentionForward forward = problem.forward();
    forward.shape = shape;
    attention_forward(forward, pool);
  };
  AttentionShape windowed = good, beyond = good, still = good;
  windowed.causal = false;
  windowed.window = 2;
  beyond.reads = {4, 1};
  still.reads = {0, 0};
  EXPECT_NO_THROW(run(good));
  EXPECT_THROW(run(windowed), base::Error);
  EXPECT_THROW(run(beyond), base::Error);
  EXPECT_THROW(run(still), base::Error);
}

TEST_P(AttentionTest, CutsLongSequences) {
  // Beyond 512 queries the forward pass is cut; from about 340 on the backward pass takes queries in blocks.
  for (const bool causal : {false, true}) {
    expect_matches_reference(make_shape(1, 600, 2, 1, 8, causal), random_, pool_);
    expect_matches_reference(make_shape(1, 400, 1, 1, 64, causal), random_, pool_);
  }
}

/// A matrix of the same layout and values, in another storage.
StoredMatrix in_storage(const StoredMatrix& from, Storage storage) {
  StoredMatrix to(storage, from.rows(), from.columns(), from.stride() - from.columns(), 1);
  for (int64_t i = 0; i < from.rows(); ++i) {
    for (int64_t j = 0; j < from.columns(); ++j) to.set(i, j, from.at(i, j));
  }
  return to;
}

StoredMatrix in_bf16(const StoredMatrix& from) { return in_storage(from, Storage::bf16); }

void round_to_bf16(StoredMatrix& matrix) { matrix = in_storage(in_bf16(matrix), matrix.storage()); }

TEST_P(AttentionTest, Bf16TensorsAreThoseOfTheirValues) {
  // Keys stay in fp32: with all factors in bf16 a unit for it would multiply them.
  for (const AttentionShape& shape :
       {make_shape(2, 41, 6, 2, 24, true), make_shape(1, 600, 2, 2, 8, true), make_shape(2, 30, 2, 1, 9, false),
        make_shape(1, 530, 2, 1, 8, false), make_shape(2, 42, 4, 2, 24, true, {0, 2}),
        make_shape(1, 41, 4, 2, 24, true, {1, 3}), make_shape(1, 600, 2, 1, 8, true, {}, 70)}) {
    for (const bool inputs : {false, true}) {
      for (const bool outputs : {false, true}) {
        SCOPED_TRACE(fmt::format("time {} inputs {} outputs {}", shape.time, inputs, outputs));
        AttentionProblem plain(shape, random_);
        if (inputs) round_to_bf16(plain.qkv);
        if (outputs) round_to_bf16(plain.dout);
        AttentionProblem kept = plain;
        StoredMatrix qkv = in_bf16(plain.qkv), out = in_bf16(plain.out), dout = in_bf16(plain.dout);
        StoredMatrix dqkv = in_bf16(plain.dqkv);
        attention_forward(plain.forward(), pool_);
        AttentionForward forward = kept.forward();
        if (inputs) {
          forward.q = qkv.array() + shape.reads.first * qkv.stride();
          forward.v = qkv.array() + kept.v_column();
        }
        if (outputs) forward.out = out.array();
        attention_forward(forward, pool_);
        if (outputs) round_to_bf16(plain.out);
        EXPECT_CLOSE(outputs ? out.values() : kept.out.values(), plain.out.values(), exact());
        EXPECT_CLOSE(kept.lse, plain.lse, exact());
        EXPECT_TRUE(out.padding_is_untouched());
        attention_backward(plain.backward(), pool_);
        AttentionBackward backward = kept.backward();
        backward.q = forward.q, backward.k = forward.k, backward.v = forward.v;
        if (outputs) backward.out = out.array(), backward.dout = dout.array();
        if (inputs) {
          backward.dq = dqkv.array() + shape.reads.first * dqkv.stride();
          backward.dk = dqkv.array() + kept.k_column();
          backward.dv = dqkv.array() + kept.v_column();
          round_to_bf16(plain.dqkv);
        }
        attention_backward(backward, pool_);
        EXPECT_CLOSE(inputs ? dqkv.values() : kept.dqkv.values(), plain.dqkv.values(), exact());
        EXPECT_TRUE(dqkv.padding_is_untouched());
      }
    }
  }
}

TEST_P(AttentionTest, ForwardWithoutLogSumExp) {
  const AttentionShape shape = make_shape(1, 20, 1, 1, 8, true);
  AttentionProblem kept(shape, random_);
  AttentionProblem dropped = kept;
  attention_forward(kept.forward(), pool_);
  attention_forward(dropped.forward(false), pool_);
  EXPECT_CLOSE(dropped.out.values(), kept.out.values(), exact());
}

TEST_P(AttentionTest, SurvivesLargeScores) {
  const AttentionShape shape = make_shape(1, 30, 1, 1, 8, true);
  AttentionProblem fast(shape, random_);
  for (int64_t i = 0; i < 30; ++i) {
    for (int64_t j = 0; j < 16; ++j) fast.qkv.set(i, j, 100 * fast.qkv.at(i, j));  // scores of thousands
  }
  AttentionProblem slow = fast;
  attention_forward(fast.forward(), pool_);
  ref::attention_forward(slow.forward());
  EXPECT_CLOSE(fast.out.values(), slow.out.values(), (Tolerance{.absolute = 1e-2, .relative = 1e-3}));
}

TEST_P(AttentionTest, ShowsNaN) {
  AttentionProblem problem(make_shape(1, 20, 1, 1, 8, true), random_);
  problem.qkv.set(7, 8, kNaN);  // a key: seen from token 7 on
  attention_forward(problem.forward(), pool_);
  for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(std::isnan(problem.out.at(i, 3)), i >= 7) << i;
}

TEST_P(AttentionTest, BitsDoNotDependOnThreads) {
  const AttentionShape shape = make_shape(3, 82, 4, 2, 32, true);
  AttentionProblem first(shape, random_);
  std::vector<std::vector<float>> outs, gradients;
  for (const int threads : {1, 2, 3, 5}) {
    base::ThreadPool pool(threads);
    AttentionProblem problem = first;
    attention_forward(problem.forward(), pool);
    attention_backward(problem.backward(), pool);
    outs.push_back(problem.out.values());
    gradients.push_back(problem.dqkv.values());
  }
  for (std::size_t i = 1; i < outs.size(); ++i) {
    EXPECT_CLOSE(outs[i], outs[0], exact());
    EXPECT_CLOSE(gradients[i], gradients[0], exact());
  }
}

TEST(AttentionReference, BackwardIsTheJacobianOfForward) {
  struct Kind {
    bool causal = true;
    Reads reads = {};
    int64_t window = 0;
  };
  for (const Kind& kind :
       {Kind{.causal = false}, {}, {.reads = {0, 2}}, {.window = 2}, {.reads = {1, 2}, .window = 3}}) {
    std::mt19937 random(3);
    AttentionProblem problem({.batch = 2,
                              .time = 4,
                              .heads = 4,
                              .kv_heads = 2,
                              .head_dim = 3,
                              .causal = kind.causal,
                              .scale = 0.5F,
                              .reads = kind.reads,
                              .window = kind.window},
                             random);
    ref::attention_forward(problem.forward());
    ref::attention_backward(problem.backward());
    const auto loss = [&] {
      ref::attention_forward(problem.forward());
      double sum = 0;
      for (int64_t i = 0; i < problem.out.rows(); ++i) {
        for (int64_t j = 0; j < problem.out.columns(); ++j) {
          sum += static_cast<double>(problem.out.at(i, j)) * static_cast<double>(problem.dout.at(i, j));
        }
      }
      return sum;
    };
    std::vector<double> numeric, analytic;
    for (int64_t i = 0; i < problem.qkv.rows(); ++i) {
      for (int64_t j = 0; j < problem.qkv.columns(); ++j) {
        const float kept = problem.qkv.at(i, j);
        const float step = 0x1p-8F;
        problem.qkv.set(i, j, kept + step);
        const double above = loss();
        problem.qkv.set(i, j, kept - step);
        const double below = loss();
        problem.qkv.set(i, j, kept);
        numeric.push_back((above - below) / (2 * static_cast<double>(step)));
        analytic.push_back(static_cast<double>(problem.dqkv.at(i, j)));
      }
    }
    EXPECT_CLOSE(analytic, numeric, (Tolerance{.absolute = 3e-4, .relative = 1e-3}));
  }
}

TEST(AttentionReference, AveragesValuesWhenScoresAreEqual) {
  const std::vector<float> q{1, 1, 1}, k{0, 0, 0}, v{1, 2, 6};
  std::vector<float> out(3), lse(3);
  ref::attention_forward({.shape = {1, 3, 1, 1, 1, true, 1},
                          .q = q.data(),
                          .k = k.data(),
                          .v = v.data(),
                          .q_stride = 1,
                          .k_stride = 1,
                          .v_stride = 1,
                          .out = out.data(),
                          .out_stride = 1,
                          .log_sum_exp = lse.data()});
  EXPECT_CLOSE(out, (std::vector<float>{1, 1.5F, 3}), (Tolerance{.absolute = 1e-6}));
  EXPECT_CLOSE(lse, (std::vector<float>{0, std::log(2.0F), std::log(3.0F)}), (Tolerance{.absolute = 1e-6}));
}

}  // namespace
}  // namespace incontext::kernels
