#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/cpu/bf16_tiles.h"
#include "kernels/emulated_amx.h"
#include "kernels/inputs.h"
#include "kernels/matrix_product.h"
#include "kernels/product_case.h"

namespace incontext::kernels {
namespace {

class TilesTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(TilesTest);

TEST_P(TilesTest, MultiplyLikeTheReference) {
  const AmxUnit amx;
  const std::vector<TileStrip> strips = amx.every_strip();
  struct Shape {
    int64_t m, n, k;
  };
  for (const TileStrip strip : strips) {
    for (const Shape& s : {Shape{1, 1, 1}, Shape{5, 7, 0}, Shape{16, 16, 32}, Shape{17, 15, 31}, Shape{31, 33, 33},
                           Shape{32, 32, 64}, Shape{33, 31, 65}, Shape{70, 100, 130}, Shape{20, 40, 2000}}) {
      for (int bits = 0; bits < 8; ++bits) {
        Case c{s.m, s.n, s.k};
        c.transpose_a = (bits & 1) != 0;
        c.transpose_b = (bits & 2) != 0;
        c.accumulate = (bits & 4) != 0;
        c.bias = c.residual = bits % 3 == 0;
        c.activation = bits % 3 == 1 ? Activation::gelu_tanh : Activation::none;
        c.preactivation = bits % 3 == 1;
        c.precision = Precision::bf16;
        if (s.m % 2 == 0) c.a = c.c = Storage::bf16;
        if (s.n % 2 == 0) c.b = c.pre = Storage::bf16;
        for (const bool integers : {false, true}) {
          c.integers = integers;
          expect_matches_reference(c, random_, pool_, strip);
        }
      }
    }
  }
}

TEST_P(TilesTest, AChainIsTwoProducts) {
  const AmxUnit amx;
  for (const TileStrip strip : amx.every_strip()) {
    for (const int64_t rows : {1, 31, 32, 33, 100}) {
      expect_mlp_chains(rows, 32, 64, Precision::bf16, random_, pool_, strip);
      expect_mlp_chains(rows, 20, 70, Precision::bf16, random_, pool_, strip);
    }
    expect_mlp_chains(40, 64, 1000, Precision::bf16, random_, pool_, strip);
  }
}

TEST_P(TilesTest, WideGradientsOfWeights) {
  // Computed as their transpose.
  const AmxUnit amx;
  const std::vector<TileStrip> strips = amx.every_strip();
  struct Shape {
    int64_t m, n, k;
  };
  for (const TileStrip strip : strips) {
    for (const Shape& s : {Shape{1, 2, 4}, Shape{17, 50, 300}, Shape{33, 131, 700}}) {
      for (const Storage storage : {Storage::f32, Storage::bf16}) {
        Case c{s.m, s.n, s.k};
        c.transpose_a = true;
        c.precision = Precision::bf16;
        c.a = storage;
        c.b = Storage::bf16;
        expect_matches_reference(c, random_, pool_, strip);
        c.integers = true;
        expect_matches_reference(c, random_, pool_, strip);
      }
    }
  }
}

TEST_P(TilesTest, FetchAllLinesWhileTheyMultiply) {
  const AmxUnit amx;
  const std::vector<TileStrip> strips = amx.every_strip();
  const std::vector<uint16_t> left(3 * kTileBlockSize), right(2 * 3 * kTileBlockSize);
  std::vector<float> sums(2 * kTileBlockSize);
  for (const TileStrip strip : strips) {
    for (const int64_t rows : {1, 7, 32, 500}) {
      Fetches fetches;
      fetches.add(left.data(), 64, 130, rows);  // 3 lines each
      fetches.add(right.data(), 64, 0, rows);
      EXPECT_EQ(fetches.lines(), 3 * rows);
      strip({left.data()}, right.data(), 3, 2, sums.data(), fetches);
      EXPECT_EQ(fetches.lines(), 0);
    }
  }
}

TEST_P(TilesTest, ComputeTheSameBitsInPlainCode) {
  const int64_t before = EmulatedAmx::instructions();
  const AmxUnit amx;
  Case c{70, 100, 130};
  c.precision = Precision::bf16;
  c.integers = true;  // no sum is rounded, which each does in an order of its own
  Problem plain(c, random_);
  Problem tiles = plain;
  matrix_product_on_tiles(plain.arguments(c), &multiply_tile_strip<PlainTiles>, pool_);
  matrix_product_on_tiles(tiles.arguments(c), amx.strip(), pool_);
  EXPECT_CLOSE(tiles.c.values(), plain.c.values(), testing::exact());
  if (avx512_bf16_strip() != nullptr) {
    Problem vectors = tiles;
    matrix_product_on_tiles(vectors.arguments(c), avx512_bf16_strip(), pool_);
    EXPECT_CLOSE(vectors.c.values(), plain.c.values(), testing::exact());
  }
  if (amx_tile_strip() == nullptr) {
    EXPECT_GT(EmulatedAmx::instructions(), before) << "nothing was emulated";
  }
}

TEST_P(TilesTest, ShowNaNAndRoundToEven) {
  // 1 + 2^-8 rounds to 1 and 1 + 3 * 2^-8 to 1 + 2^-6; the largest float rounds to infinity.
  const float values[3] = {1.00390625F, 1.01171875F, 3.4e38F};
  const float one = 1;
  float out[3] = {};
  MatrixProduct p;
  p.rows = 3, p.columns = 1, p.depth = 1;
  p.a = values, p.a_stride = 1, p.b = &one, p.b_stride = 1, p.c = out, p.c_stride = 1;
  matrix_product_on_tiles(p, &multiply_tile_strip<PlainTiles>, pool_);
  EXPECT_EQ(out[0], 1.0F);
  EXPECT_EQ(out[1], 1.015625F);
  EXPECT_TRUE(std::isinf(out[2]));
  p.b = &kNaN;
  matrix_product_on_tiles(p, &multiply_tile_strip<PlainTiles>, pool_);
  EXPECT_TRUE(std::isnan(out[0]));
}

TEST_P(TilesTest, BitsDoNotDependOnThreads) {
  Case c{70, 100, 1500};
  c.transpose_a = true;
  c.precision = Precision::bf16;
  const Problem first(c, random_);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 3, 5}) {
    base::ThreadPool pool(threads);
    Problem problem = first;
    matrix_product_on_tiles(problem.arguments(c), &multiply_tile_strip<PlainTiles>, pool);
    results.push_back(problem.c.values());
  }
  for (std::size_t i = 1; i < results.size(); ++i) EXPECT_CLOSE(results[i], results[0], testing::exact());
}

}  // namespace
}  // namespace incontext::kernels
