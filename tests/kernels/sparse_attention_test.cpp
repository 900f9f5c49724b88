#include "kernels/sparse_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/inputs.h"
#include "kernels/storage.h"

namespace incontext::kernels {
namespace {

/// Random dictionaries and codes of one layer, and queries.
struct SparseCase {
  SparseLayout layout;
  int64_t heads, head_dim, atoms, positions;
  std::vector<uint16_t> key_panels, value_rows;
  std::vector<float> key_mean, value_mean, queries;
  std::vector<std::vector<std::byte>> blocks;
  std::vector<const std::byte*> pointers;

  SparseCase(const SparseLayout& l, int64_t head_count, int64_t dim, int64_t atom_count, int64_t length)
      : layout(l), heads(head_count), head_dim(dim), atoms(atom_count), positions(length) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    const int64_t panels = (atoms + 15) / 16;
    key_panels.assign(static_cast<size_t>(panels * 16 * dim), 0);
    for (int64_t n = 0; n < atoms; ++n) {
      for (int64_t d = 0; d < dim; ++d) {
        key_panels[static_cast<size_t>((n / 16 * dim + d) * 16 + n % 16)] = to_f16(normal(random) / 8);
        value_rows.push_back(to_f16(normal(random) / 8));
      }
    }
    for (int64_t i = 0; i < layout.kv_heads * dim; ++i) {
      key_mean.push_back(0.3F * normal(random));
      value_mean.push_back(normal(random));
    }
    for (int64_t i = 0; i < 3 * (heads * dim + 5); ++i) queries.push_back(normal(random));
    for (int64_t block = 0; block * 32 < positions; ++block) {
      std::vector<std::byte> bytes(static_cast<size_t>(layout.block_bytes()));
      const auto codes = [&](int64_t sparsity, std::vector<uint16_t>& chosen, std::vector<int16_t>& values,
                             std::vector<int32_t>& used, std::vector<uint16_t>& scales) {
        for (int64_t row = 0; row < 32 * layout.kv_heads; ++row) {
          used.push_back(layout.counted ? static_cast<int32_t>(random() % static_cast<uint32_t>(sparsity + 1))
                                        : static_cast<int32_t>(sparsity));
          scales.push_back(to_f16(std::abs(normal(random)) * 4));
          for (int64_t i = 0; i < sparsity; ++i) {
            chosen.push_back(static_cast<uint16_t>(random() % static_cast<uint32_t>(atoms)));
            const auto ladder = static_cast<uint32_t>(2 << ladder_level_bits(layout.coefficients));
            values.push_back(layout.coefficients == Coefficients::integer
                                 ? static_cast<int16_t>(static_cast<int>(random() % 4095) - 2047)
                                 : static_cast<int16_t>(random() % ladder));
          }
        }
      };
      std::vector<uint16_t> chosen[2], scales[2];
      std::vector<int16_t> values[2];
      std::vector<int32_t> used[2];
      codes(layout.key_sparsity, chosen[0], values[0], used[0], scales[0]);
      codes(layout.value_sparsity, chosen[1], values[1], used[1], scales[1]);
      const int64_t size =
          write_sparse_block(layout, {chosen[0].data(), values[0].data(), used[0].data(), scales[0].data()},
                             {chosen[1].data(), values[1].data(), used[1].data(), scales[1].data()}, bytes.data());
      EXPECT_LE(size, layout.block_bytes());
      bytes.resize(static_cast<size_t>(size));
      EXPECT_TRUE(is_sparse_block(layout, bytes, atoms, atoms));
      blocks.push_back(std::move(bytes));
    }
    for (const auto& block : blocks) pointers.push_back(block.data());
  }

  SparseAttentionSequence sequence(int64_t first, int64_t last, int64_t count, std::vector<float>& out,
                                   std::vector<float>& log_sums) const {
    out.assign(static_cast<size_t>(count * heads * head_dim), kNaN);
    log_sums.assign(static_cast<size_t>(count * heads), kNaN);
    return {.q = queries.data(),
            .q_stride = heads * head_dim + 5,
            .count = count,
            .blocks = pointers.data(),
            .first = first,
            .last = last,
            .out = out.data(),
            .log_sums = log_sums.data()};
  }
  SparseAttention arguments(std::span<const SparseAttentionSequence> sequences, bool means = true) const {
    return {.layout = layout,
            .heads = heads,
            .head_dim = head_dim,
            .scale = 0.2F,
            .key_atoms = atoms,
            .value_atoms = atoms,
            .key_panels = key_panels.data(),
            .value_rows = value_rows.data(),
            .key_mean = means ? key_mean.data() : nullptr,
            .value_mean = means ? value_mean.data() : nullptr,
            .sequences = sequences};
  }
};

TEST(SparseAttention, AttendsAsTheReferenceDoes) {
  base::ThreadPool pool(2);
  for (const std::string& set : available_instruction_sets()) {
    force_instruction_set(set);
    for (const int64_t group : {1, 2, 3, 8, 20}) {
      for (const Coefficients kind :
           {Coefficients::ladder, Coefficients::ladder5, Coefficients::ladder6, Coefficients::integer}) {
        for (const bool counted : {false, true}) {
          SCOPED_TRACE(fmt::format("{}: group {}, kind {}, counted {}", set, group, static_cast<int>(kind), counted));
          const int64_t dim = group == 3 ? 40 : 64;
          const SparseCase c(
              {.kv_heads = 2, .key_sparsity = 5, .value_sparsity = 8, .coefficients = kind, .counted = counted},
              2 * group, dim, group == 2 ? int64_t{1} << atom_bits(kind) : 77, 150);
          std::vector<float> out, sums, expected_out, expected_sums;
          for (const auto& [first, last] : {std::pair<int64_t, int64_t>{0, 150}, {37, 97}, {149, 150}}) {
            const SparseAttentionSequence ours = c.sequence(first, last, 2, out, sums);
            sparse_attention(c.arguments({&ours, 1}, last != 97), pool);
            const SparseAttentionSequence theirs = c.sequence(first, last, 2, expected_out, expected_sums);
            ref::sparse_attention(c.arguments({&theirs, 1}, last != 97));
            for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], expected_out[i], 2e-5) << i;
            for (size_t i = 0; i < sums.size(); ++i) ASSERT_NEAR(sums[i], expected_sums[i], 2e-5) << i;
          }
        }
      }
    }
  }
  force_instruction_set("");
}

TEST(SparseAttention, ARowDependsOnItselfAlone) {
  base::ThreadPool one(1), three(3);
  const SparseCase c({.kv_heads = 3, .key_sparsity = 4, .value_sparsity = 4}, 9, 64, 500, 9000);
  std::vector<float> out, sums, again, again_sums, other, other_sums;
  const SparseAttentionSequence together[] = {c.sequence(0, 700, 2, other, other_sums),
                                              c.sequence(10, 9000, 3, out, sums)};
  sparse_attention(c.arguments(together), three);
  const SparseAttentionSequence alone = c.sequence(10, 9000, 1, again, again_sums);
  sparse_attention(c.arguments({&alone, 1}), one);
  EXPECT_TRUE(std::equal(again.begin(), again.end(), out.begin()));
  EXPECT_TRUE(std::equal(again_sums.begin(), again_sums.end(), sums.begin()));
  std::vector<float> expected, expected_sums;
  const SparseAttentionSequence reference = c.sequence(10, 9000, 1, expected, expected_sums);
  ref::sparse_attention(c.arguments({&reference, 1}));
  for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(again[i], expected[i], 5e-5) << i;
}

TEST(SparseAttention, CodesThatEndedEarlyAddNothing) {
  // Of a code with one non-zero, blocks with 2, 3, 4 and 5 places for it.
  for (const auto& [kind, sparsity] : {std::pair<Coefficients, int64_t>{Coefficients::ladder, 1},
                                       {Coefficients::ladder, 2},
                                       {Coefficients::ladder, 3},
                                       {Coefficients::ladder5, 4},
                                       {Coefficients::ladder6, 5},
                                       {Coefficients::ladder6, 2}}) {
    const SparseLayout layout{
        .kv_heads = 1, .key_sparsity = sparsity, .value_sparsity = sparsity, .coefficients = kind};
    const auto slots = static_cast<size_t>(32 * sparsity);
    std::vector<uint16_t> chosen(slots, 0), scales(32, to_f16(2));
    std::vector<int16_t> codes(slots, 0);
    std::vector<int32_t> used(32, 1);
    for (int64_t p = 0; p < 32; ++p) {
      chosen[static_cast<size_t>(p * sparsity)] = static_cast<uint16_t>(p % 3);
      codes[static_cast<size_t>(p * sparsity)] = static_cast<int16_t>(p % 2 << ladder_level_bits(kind));
    }
    std::vector<std::byte> block(static_cast<size_t>(layout.block_bytes()));
    const SparseCodes all{chosen.data(), codes.data(), used.data(), scales.data()};
    write_sparse_block(layout, all, all, block.data());
    std::vector<uint16_t> key_panels(16 * 4, 0), value_rows(3 * 4, 0);
    for (int64_t n = 0; n < 3; ++n) {
      key_panels[static_cast<size_t>(n * 16 + n)] = value_rows[static_cast<size_t>(n * 4 + n)] = to_f16(1);
    }
    const std::byte* pointer = block.data();
    for (int64_t p = 0; p < 32; ++p) {
      const float q[4] = {0, 0, 0, 0};
      float out[4], sum = 0;
      const SparseAttentionSequence s{.q = q,
                                      .q_stride = 4,
                                      .count = 1,
                                      .blocks = &pointer,
                                      .first = p,
                                      .last = p + 1,
                                      .out = out,
                                      .log_sums = &sum};
      ref::sparse_attention({.layout = layout,
                             .heads = 1,
                             .head_dim = 4,
                             .key_atoms = 3,
                             .value_atoms = 3,
                             .key_panels = key_panels.data(),
                             .value_rows = value_rows.data(),
                             .sequences = {&s, 1}});
      for (int64_t d = 0; d < 4; ++d) {
        EXPECT_EQ(out[d], d == p % 3 ? (p % 2 == 0 ? 2.0F : -2.0F) : 0.0F) << sparsity << ", " << p << ", " << d;
      }
    }
  }
}

TEST(SparseAttention, BlocksOfOtherFormsAreRecognised) {
  for (const bool counted : {false, true}) {
    const SparseCase c({.kv_heads = 2, .key_sparsity = 4, .value_sparsity = 6, .counted = counted}, 4, 8, 50, 32);
    std::vector<std::byte> block = c.blocks[0];
    EXPECT_FALSE(is_sparse_block(c.layout, std::span(block).first(block.size() - 2), 50, 50));
    EXPECT_FALSE(is_sparse_block(c.layout, block, 20, 50));
    EXPECT_FALSE(is_sparse_block(c.layout, block, 50, 20));
    const size_t scale = counted ? 16 : 0;
    block[scale] = std::byte{0xFF};
    block[scale + 1] = std::byte{0x7C};  // NaN
    EXPECT_FALSE(is_sparse_block(c.layout, block, 50, 50));
    if (!counted) continue;
    block = c.blocks[0];
    block[4] = std::byte{0xFE};  // where a part begins
    EXPECT_FALSE(is_sparse_block(c.layout, block, 50, 50));
    block = c.blocks[0];
    block[16 + 64] = std::byte{5};  // more non-zeros than there may be
    EXPECT_FALSE(is_sparse_block(c.layout, block, 50, 50));
  }
}

}  // namespace
}  // namespace incontext::kernels
