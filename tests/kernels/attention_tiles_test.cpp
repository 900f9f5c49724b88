#include "kernels/cpu/attention_tiles.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

#include "kernels/attention_case.h"
#include "kernels/emulated_amx.h"
#include "kernels/inputs.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::exact;
using testing::Tolerance;

/// Queries, keys, values and dout lie in bf16.
struct TilesProblem : AttentionProblem {
  TilesProblem(const AttentionShape& s, std::mt19937& random, Storage results)
      : AttentionProblem(s, random, Storage::bf16, results) {}
};

/// By how much rounding one factor of each product to bf16, by up to 2^-8 of it, can change the results; and a little
/// for fp32.
struct Bounds {
  std::vector<double> out, dqkv;
};

Bounds bounds_of(const TilesProblem& problem) {
  const AttentionShape& s = problem.shape;
  const double part = 0x1p-8 * 1.01;
  const auto width = static_cast<std::size_t>(s.heads * s.head_dim);
  const auto packed = static_cast<std::size_t>((s.heads + 2 * s.kv_heads) * s.head_dim);
  const auto tokens = static_cast<std::size_t>(s.batch * s.time);
  const auto queries = static_cast<std::size_t>(s.batch * s.queries());
  Bounds bounds{std::vector<double>(queries * width, 4e-6), std::vector<double>(tokens * packed, 2e-5)};
  const auto value = [&](int64_t row, int64_t column) { return static_cast<double>(problem.qkv.at(row, column)); };
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t group = h / (s.heads / s.kv_heads);
      const int64_t q = h * s.head_dim, k = problem.k_column() + group * s.head_dim;
      const int64_t v = problem.v_column() + group * s.head_dim;
      for (int64_t i = 0; i < s.queries(); ++i) {
        const int64_t row = b * s.time + s.reads.token(i);                 // of the query
        const auto asked = static_cast<std::size_t>(b * s.queries() + i);  // of dout and out
        std::vector<double> p, dp;
        double sum = 0, delta = 0;
        for (int64_t j = s.first_seen_by(i); j < s.seen_by(i); ++j) {
          double score = 0, change = 0;
          for (int64_t d = 0; d < s.head_dim; ++d) {
            score += value(row, q + d) * value(b * s.time + j, k + d);
            change +=
                static_cast<double>(problem.dout.at(static_cast<int64_t>(asked), q + d)) * value(b * s.time + j, v + d);
          }
          p.push_back(std::exp(static_cast<double>(s.scale) * score));
          dp.push_back(change);
          sum += p.back();
        }
        for (std::size_t j = 0; j < p.size(); ++j) delta += (p[j] /= sum) * dp[j];
        for (std::size_t j = 0; j < p.size(); ++j) {
          const double ds = std::fabs(static_cast<double>(s.scale) * p[j] * (dp[j] - delta));
          const auto key = static_cast<std::size_t>(b * s.time + s.first_seen_by(i)) + j;
          for (int64_t d = 0; d < s.head_dim; ++d) {
            const auto at = [&](std::size_t token, int64_t column) {
              return token * packed + static_cast<std::size_t>(column + d);
            };
            const auto token = static_cast<std::size_t>(row);
            const auto size = [&](int64_t r, int64_t column) { return std::fabs(value(r, column + d)); };
            const auto key_row = static_cast<int64_t>(key);
            bounds.out[asked * width + static_cast<std::size_t>(q + d)] += part * p[j] * size(key_row, v);
            bounds.dqkv[at(token, q)] += part * ds * size(key_row, k);
            bounds.dqkv[at(key, k)] += part * ds * size(row, q);
            bounds.dqkv[at(key, v)] +=
                part * p[j] * std::fabs(static_cast<double>(problem.dout.at(static_cast<int64_t>(asked), q + d)));
          }
        }
      }
    }
  }
  return bounds;
}

/// |actual - expected| in parts of the bound; results in bf16 are rounded on both sides.
std::vector<double> in_bounds(const StoredMatrix& actual, const StoredMatrix& expected, std::vector<double> bounds) {
  const std::vector<float> a = actual.values(), e = expected.values();
  std::vector<double> parts;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (actual.storage() == Storage::bf16) bounds[i] = 1.01 * bounds[i] + 0x1p-7 * std::fabs(static_cast<double>(e[i]));
    parts.push_back((static_cast<double>(a[i]) - static_cast<double>(e[i])) / bounds[i]);
  }
  return parts;
}

class AttentionTilesTest : public EveryInstructionSet {
 protected:
  void expect_matches_reference(const AttentionShape& shape, Storage results, TileStrip strip) {
    SCOPED_TRACE(fmt::format("{} bf16 {}", name_of(shape), results == Storage::bf16));
    TilesProblem fast(shape, random_, results);
    TilesProblem slow = fast;
    const Bounds bounds = bounds_of(fast);
    attention_forward_on_tiles(fast.forward(), strip, pool_);
    ref::attention_forward(slow.forward());
    const std::vector<double> zeros(bounds.out.size()), packed_zeros(bounds.dqkv.size());
    EXPECT_CLOSE(in_bounds(fast.out, slow.out, bounds.out), zeros, Tolerance{.absolute = 1});
    EXPECT_CLOSE(fast.lse, slow.lse, (Tolerance{.absolute = 1e-5, .relative = 1e-6}));
    EXPECT_TRUE(fast.out.padding_is_untouched());
    if (results == Storage::bf16) return;  // delta, a sum with out, would be that of a rounded out
    fast.out = slow.out;
    attention_backward_on_tiles(fast.backward(), strip, pool_);
    ref::attention_backward(slow.backward());
    EXPECT_CLOSE(in_bounds(fast.dqkv, slow.dqkv, bounds.dqkv), packed_zeros, Tolerance{.absolute = 1});
    EXPECT_TRUE(fast.dqkv.padding_is_untouched());
  }

  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(AttentionTilesTest);

TEST_P(AttentionTilesTest, MatchesTheReference) {
  const AmxUnit amx;
  const std::vector<TileStrip> strips = amx.every_strip();
  for (const TileStrip strip : strips) {
    for (const bool causal : {false, true}) {
      for (const Storage results : {Storage::f32, Storage::bf16}) {
        for (const int64_t time : {1, 2, 31, 32, 33, 64, 65, 82}) {
          expect_matches_reference(make_shape(1, time, 2, 2, 32, causal), results, strip);
        }
        for (const int64_t head_dim : {1, 5, 31, 33, 64, 80}) {
          expect_matches_reference(make_shape(2, 37, 1, 1, head_dim, causal), results, strip);
        }
        expect_matches_reference(make_shape(2, 40, 6, 2, 16, causal), results, strip);
        for (const int64_t time : {2, 62, 64, 66, 82, 130}) {
          expect_matches_reference(make_shape(2, time, 2, 2, 32, causal, {0, 2}), results, strip);
        }
        for (const int64_t time : {1, 33, 65, 97, 98, 200}) {
          expect_matches_reference(make_shape(1, time, 1, 1, 32, causal, {0, 3}), results, strip);
          expect_matches_reference(make_shape(1, time, 1, 1, 32, causal, {0, 64}), results, strip);
        }
        for (const Reads& reads : {Reads{1, 3}, {98, 99}, {40, 1}}) {
          expect_matches_reference(make_shape(1, 99, 2, 1, 32, causal, reads), results, strip);
        }
      }
    }
  }
}

TEST_P(AttentionTilesTest, TokensSeeAWindow) {
  for (const Storage results : {Storage::f32, Storage::bf16}) {
    const auto expect = [&](const AttentionShape& shape) {
      expect_matches_reference(shape, results, &multiply_tile_strip<PlainTiles>);
    };
    for (const int64_t window : {1, 2, 16, 31, 32, 33, 50, 64, 100}) {
      for (const int64_t time : {1, 31, 33, 65, 130}) expect(make_shape(2, time, 2, 1, 8, true, {}, window));
      for (const Reads& reads : {Reads{0, 2}, {1, 3}, {2, 3}, {40, 50}, {3, 2}}) {
        expect(make_shape(1, 200, 1, 1, 8, true, reads, window));
      }
    }
    for (const int64_t window : {20, 300}) {  // in blocks, and in two cuts
      expect(make_shape(1, 600, 1, 1, 8, true, {}, window));
      expect(make_shape(1, 1100, 1, 1, 8, true, {1, 2}, window));
    }
  }
}

TEST_P(AttentionTilesTest, CutsLongSequences) {
  // Beyond 512 queries the forward pass is cut; from 257 on the backward pass takes queries in blocks.
  for (const bool causal : {false, true}) {
    expect_matches_reference(make_shape(1, 600, 1, 1, 8, causal), Storage::f32, &multiply_tile_strip<PlainTiles>);
    expect_matches_reference(make_shape(1, 1100, 1, 1, 8, causal, {0, 2}), Storage::f32,
                             &multiply_tile_strip<PlainTiles>);
  }
}

TEST_P(AttentionTilesTest, OneTokenIsExact) {
  TilesProblem problem(make_shape(3, 1, 2, 2, 32, true), random_, Storage::bf16);
  attention_forward_on_tiles(problem.forward(), &multiply_tile_strip<PlainTiles>, pool_);
  attention_backward_on_tiles(problem.backward(), &multiply_tile_strip<PlainTiles>, pool_);
  for (int64_t row = 0; row < 3; ++row) {
    for (int64_t d = 0; d < 64; ++d) {
      EXPECT_EQ(problem.out.at(row, d), problem.qkv.at(row, 128 + d));
      EXPECT_EQ(problem.dqkv.at(row, 128 + d), problem.dout.at(row, d));
      EXPECT_NEAR(problem.dqkv.at(row, d), 0, 1e-5);
    }
  }
}

TEST_P(AttentionTilesTest, IsChosenForBf16WhereThereIsAUnit) {
  TilesProblem chosen(make_shape(1, 50, 2, 2, 32, true), random_, Storage::f32);
  AttentionProblem direct = chosen;
  const TileStrip unit = usable_tile_strip();
  if (unit == nullptr) {  // the same values in fp32
    direct = AttentionProblem(chosen.shape, random_);
    for (auto [to, from] : {std::pair{&direct.qkv, &chosen.qkv}, std::pair{&direct.dout, &chosen.dout}}) {
      for (int64_t i = 0; i < from->rows(); ++i) {
        for (int64_t j = 0; j < from->columns(); ++j) to->set(i, j, from->at(i, j));
      }
    }
  }
  attention_forward(chosen.forward(), pool_);
  attention_backward(chosen.backward(), pool_);
  if (unit != nullptr) {
    attention_forward_on_tiles(direct.forward(), unit, pool_);
    attention_backward_on_tiles(direct.backward(), unit, pool_);
  } else {
    attention_forward(direct.forward(), pool_);
    attention_backward(direct.backward(), pool_);
  }
  EXPECT_CLOSE(chosen.out.values(), direct.out.values(), exact());
  EXPECT_CLOSE(chosen.dqkv.values(), direct.dqkv.values(), exact());
}

TEST_P(AttentionTilesTest, ShowsNaN) {
  TilesProblem problem(make_shape(1, 40, 1, 1, 32, true), random_, Storage::bf16);
  problem.qkv.set(35, 32, kNaN);  // a key: seen from token 35 on
  attention_forward_on_tiles(problem.forward(), &multiply_tile_strip<PlainTiles>, pool_);
  for (int64_t i = 0; i < 40; ++i) EXPECT_EQ(std::isnan(problem.out.at(i, 3)), i >= 35) << i;
}

TEST_P(AttentionTilesTest, BitsDoNotDependOnThreads) {
  const TilesProblem first(make_shape(3, 82, 4, 2, 32, true), random_, Storage::bf16);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 3, 5}) {
    base::ThreadPool pool(threads);
    TilesProblem problem = first;
    attention_forward_on_tiles(problem.forward(), &multiply_tile_strip<PlainTiles>, pool);
    attention_backward_on_tiles(problem.backward(), &multiply_tile_strip<PlainTiles>, pool);
    results.push_back(problem.out.values());
    for (const float value : problem.dqkv.values()) results.back().push_back(value);
  }
  for (std::size_t i = 1; i < results.size(); ++i) EXPECT_CLOSE(results[i], results[0], exact());
}

}  // namespace
}  // namespace incontext::kernels
