#include "kernels/cache_attention.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "kernels/inputs.h"
#include "kernels/stored.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::exact;
using testing::Tolerance;

struct CacheCase {
  int64_t heads = 2, kv_heads = 1, head_dim = 16;
  Storage storage = Storage::bf16;
  int64_t window = 0;
  float q_scale = 3;  // softmax far from uniform
};

/// The caches of one sequence, and its tokens. Values behind `positions` and keys that were not stored are NaN.
struct Sequence {
  std::vector<StoredKeys> keys;  // of all KV heads
  std::vector<StoredMatrix> values;
  std::vector<const void*> heads;  // keys, then values
  Matrix q, out;
  int64_t first;

  Sequence(const CacheCase& c, int64_t first_position, int64_t count, std::mt19937& random)
      : q(count, c.heads * c.head_dim, 3, 1), out(count, c.heads * c.head_dim, 2, 1), first(first_position) {
    const int64_t positions = first + count;
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (int64_t g = 0; g < c.kv_heads; ++g) {
      keys.emplace_back(c.storage, positions, c.head_dim);
      values.push_back(StoredMatrix(c.storage, positions + 3, c.head_dim, 3, 1).fill(random));
      for (int64_t d = 0; d < c.head_dim; ++d) {
        for (int64_t j = 0; j < positions; ++j) keys.back().set(j, d, uniform(random));
        for (int64_t j = positions; j < positions + 3; ++j) values.back().set(j, d, kNaN);
      }
    }
    for (StoredKeys& each : keys) heads.push_back(each.data());
    for (StoredMatrix& each : values) heads.push_back(each.data());
    q.fill(random);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t d = 0; d < q.columns(); ++d) q.at(i, d) *= c.q_scale;
    }
  }
  Sequence(Sequence&&) = default;

  int64_t count() const { return q.rows(); }
  /// Tokens [from, from + size) as an argument.
  CacheAttentionSequence tokens(const CacheCase& c, int64_t from, int64_t size) {
    return {q.data() + from * q.stride(), out.data() + from * out.stride(), size, first + from, heads.data(),
            heads.data() + c.kv_heads};
  }
  CacheAttentionSequence all(const CacheCase& c) { return tokens(c, 0, count()); }
};

CacheAttention arguments(const CacheCase& c, std::span<const CacheAttentionSequence> sequences) {
  CacheAttention args{c.storage, c.heads, c.kv_heads, c.head_dim};
  args.value_stride = c.head_dim + 3;
  args.q_stride = c.heads * c.head_dim + 3;
  args.out_stride = c.heads * c.head_dim + 2;
  args.window = c.window;
  args.scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
  args.sequences = sequences;
  return args;
}

void clear(Matrix& m) {
  for (int64_t i = 0; i < m.rows(); ++i) std::fill_n(&m.at(i, 0), m.columns(), kNaN);
}

/// Attends in one call and returns out.
std::vector<float> attend(const CacheCase& c, Sequence& s, base::ThreadPool& pool) {
  clear(s.out);
  const CacheAttentionSequence all = s.all(c);
  cache_attention(arguments(c, {&all, 1}), pool);
  EXPECT_TRUE(s.out.padding_is_untouched());
  return s.out.values();
}

void expect_matches_reference(const CacheCase& c, int64_t first, int64_t count, std::mt19937& random,
                              base::ThreadPool& pool) {
  SCOPED_TRACE(fmt::format("heads {} / {} head_dim {} storage {} window {} first {} count {}", c.heads, c.kv_heads,
                           c.head_dim, static_cast<int>(c.storage), c.window, first, count));
  Sequence s(c, first, count, random);
  const std::vector<float> fast = attend(c, s, pool);
  const CacheAttentionSequence all = s.all(c);
  ref::cache_attention(arguments(c, {&all, 1}));
  // Means of values up to 1 with scores up to about q_scale: a few rounding errors of the scores.
  EXPECT_CLOSE(fast, s.out.values(), (Tolerance{2e-6 + 1e-7 * static_cast<double>(c.q_scale), 1e-6}));
}

class CacheAttentionTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(CacheAttentionTest);

TEST_P(CacheAttentionTest, SweepsPositionsAndCounts) {
  int turn = 0;
  for (const int64_t first : {0, 1, 2, 3, 7, 8, 15, 31, 254, 255, 256, 257, 510, 512, 700}) {
    for (const int64_t count : {0, 1, 2, 3, 4, 5, 9, 17, 33}) {
      CacheCase c;
      c.storage = kAllStorages[static_cast<std::size_t>(turn++ % 3)];
      expect_matches_reference(c, first, count, random_, pool_);
    }
  }
}

TEST_P(CacheAttentionTest, SweepsHeadSizes) {
  for (const int64_t head_dim :
       {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 48, 64, 72, 80, 96, 100, 127, 128, 129, 256, 520}) {
    for (const Storage storage : kAllStorages) {
      expect_matches_reference({2, 1, head_dim, storage}, 20, 1, random_, pool_);
      expect_matches_reference({1, 1, head_dim, storage}, 11, 1, random_, pool_);
      expect_matches_reference({3, 1, head_dim, storage}, 2, 19, random_, pool_);
    }
  }
}

TEST_P(CacheAttentionTest, GroupsQueries) {
  for (const int64_t kv_heads : {1, 2, 3, 4, 6, 12}) {
    for (const int64_t count : {1, 2, 5, 30}) {
      expect_matches_reference({12, kv_heads, 8, Storage::f16}, 300, count, random_, pool_);
    }
  }
  expect_matches_reference({14, 2, 64, Storage::bf16}, 300, 1, random_, pool_);
  expect_matches_reference({150, 1, 8, Storage::bf16}, 30, 3, random_, pool_);  // a group larger than a block
}

TEST_P(CacheAttentionTest, SeesWindows) {
  for (const int64_t window : {1, 2, 3, 8, 17, 255, 256, 257, 300, 1000}) {
    for (const int64_t first : {0, 1, 5, 200, 255, 256, 257, 600}) {
      for (const int64_t count : {1, 3, 40}) {
        expect_matches_reference({4, 2, 8, Storage::bf16, window}, first, count, random_, pool_);
      }
    }
  }
}

TEST_P(CacheAttentionTest, LongPromptsAndLongCaches) {
  expect_matches_reference({2, 1, 32, Storage::f16}, 0, 700, random_, pool_);
  expect_matches_reference({2, 1, 32, Storage::bf16}, 333, 300, random_, pool_);
  expect_matches_reference({8, 2, 64, Storage::bf16}, 5000, 1, random_, pool_);
  expect_matches_reference({8, 2, 64, Storage::bf16, 2100}, 5000, 2, random_, pool_);
}

TEST_P(CacheAttentionTest, OneKeyIsItsValue) {
  CacheCase c{4, 2, 24, Storage::f16};
  Sequence s(c, 0, 1, random_);
  const std::vector<float> out = attend(c, s, pool_);
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t d = 0; d < 24; ++d) {
      EXPECT_EQ(out[static_cast<std::size_t>(h * 24 + d)], s.values[static_cast<std::size_t>(h / 2)].at(0, d));
    }
  }
}

TEST_P(CacheAttentionTest, HugeScoresDoNotOverflow) {
  for (const int64_t count : {1, 30}) {
    CacheCase c{2, 1, 64, Storage::bf16};
    c.q_scale = 1e6F;
    Sequence s(c, 600, count, random_);
    const std::vector<float> fast = attend(c, s, pool_);
    const CacheAttentionSequence all = s.all(c);
    ref::cache_attention(arguments(c, {&all, 1}));
    // The highest score takes nearly all; two that are closer than rounding of 1e6 may share differently.
    std::size_t off = 0;
    const std::vector<float> slow = s.out.values();
    for (std::size_t i = 0; i < fast.size(); ++i) {
      EXPECT_TRUE(std::isfinite(fast[i]));
      off += std::fabs(fast[i] - slow[i]) > 1e-2F ? 1U : 0U;
    }
    EXPECT_LE(off, fast.size() / 20);
  }
}

TEST_P(CacheAttentionTest, BitsDoNotDependOnHowAPromptIsCut) {
  for (const CacheCase& c :
       {CacheCase{4, 1, 64, Storage::bf16}, CacheCase{1, 1, 64, Storage::f16}, CacheCase{7, 1, 40, Storage::bf16},
        CacheCase{2, 2, 80, Storage::f32}, CacheCase{3, 1, 17, Storage::f16, 50},
        CacheCase{2, 1, 128, Storage::bf16, 270}, CacheCase{1, 1, 9, Storage::f32}}) {
    Sequence s(c, 230, 320, random_);
    const std::vector<float> at_once = attend(c, s, pool_);
    for (const int64_t step : {1, 2, 3, 32, 130}) {
      clear(s.out);
      for (int64_t i = 0; i < s.count(); i += step) {
        const CacheAttentionSequence chunk = s.tokens(c, i, std::min(step, s.count() - i));
        cache_attention(arguments(c, {&chunk, 1}), pool_);
      }
      EXPECT_CLOSE(s.out.values(), at_once, exact());
    }
  }
}

TEST_P(CacheAttentionTest, BitsDoNotDependOnThreads) {
  for (const int64_t count : {1, 3, 200}) {
    CacheCase c{8, 2, 32, Storage::bf16};
    Sequence s(c, 3000, count, random_);
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 3, 5}) {
      base::ThreadPool pool(threads);
      results.push_back(attend(c, s, pool));
    }
    for (std::size_t i = 1; i < results.size(); ++i) EXPECT_CLOSE(results[i], results[0], exact());
  }
}

TEST_P(CacheAttentionTest, BitsDoNotDependOnOtherSequences) {
  CacheCase c{4, 2, 32, Storage::bf16};
  std::vector<Sequence> batch;
  std::vector<std::vector<float>> alone;
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 40}, {1500, 1}, {0, 0}, {3, 1}, {1400, 2}}) {
    batch.emplace_back(c, first, count, random_);
    alone.push_back(attend(c, batch.back(), pool_));
  }
  std::vector<CacheAttentionSequence> sequences;
  for (Sequence& s : batch) {
    clear(s.out);
    sequences.push_back(s.all(c));
  }
  cache_attention(arguments(c, sequences), pool_);
  for (std::size_t i = 0; i < batch.size(); ++i) EXPECT_CLOSE(batch[i].out.values(), alone[i], exact());
}

TEST_P(CacheAttentionTest, TellsTheLogarithmOfItsDenominator) {
  for (const CacheCase& c : {CacheCase{4, 2, 64, Storage::f16}, CacheCase{3, 1, 80, Storage::f32, 40},
                             CacheCase{8, 1, 32, Storage::bf16, 0, 40}}) {
    for (const int64_t count : {1, 3, 140}) {
      Sequence s(c, 600, count, random_);
      std::vector<float> fast(static_cast<std::size_t>(count * c.heads), kNaN), expected = fast;
      CacheAttentionSequence all = s.all(c);
      all.log_sums = expected.data();
      ref::cache_attention(arguments(c, {&all, 1}));
      all.log_sums = fast.data();
      cache_attention(arguments(c, {&all, 1}), pool_);
      EXPECT_CLOSE(fast, expected, (Tolerance{2e-6, 1e-6}));
      // Token by token, with the same bits.
      std::vector<float> apart(fast.size(), kNaN);
      for (int64_t i = 0; i < count; ++i) {
        CacheAttentionSequence one = s.tokens(c, i, 1);
        one.log_sums = apart.data() + i * c.heads;
        cache_attention(arguments(c, {&one, 1}), pool_);
      }
      EXPECT_CLOSE(apart, fast, exact());
    }
  }
}

TEST_P(CacheAttentionTest, TwoPartsOfAPastCombineToTheWhole) {
  constexpr int64_t kFirst = 288;  // positions of the first part, whole blocks of keys
  const CacheCase c{4, 2, 48, Storage::f32};
  for (const int64_t last : {300, 700}) {
    Sequence s(c, last, 1, random_);
    const std::vector<float> whole = attend(c, s, pool_);
    const int64_t width = c.heads * c.head_dim;
    std::vector<float> out(static_cast<std::size_t>(width)), other(out), a(static_cast<std::size_t>(c.heads)), b(a);
    // The second part begins where the first ends: its caches are the same ones further on.
    std::vector<const void*> later;
    for (int64_t g = 0; g < 2 * c.kv_heads; ++g) {
      const int64_t row = g < c.kv_heads ? c.head_dim : c.head_dim + 3;
      later.push_back(static_cast<const float*>(s.heads[static_cast<std::size_t>(g)]) + kFirst * row);
    }
    CacheAttentionSequence early{s.q.data(), out.data(), 1, kFirst - 1, s.heads.data(), s.heads.data() + c.kv_heads,
                                 a.data()};
    CacheAttentionSequence late{s.q.data(), other.data(), 1, last - kFirst, later.data(), later.data() + c.kv_heads,
                                b.data()};
    cache_attention(arguments(c, {&early, 1}), pool_);
    cache_attention(arguments(c, {&late, 1}), pool_);
    std::vector<float> log_sums(a.size());
    for (std::size_t h = 0; h < a.size(); ++h) {
      log_sums[h] =
          static_cast<float>(std::log2(std::exp2(static_cast<double>(a[h])) + std::exp2(static_cast<double>(b[h]))));
    }
    combine_attention({.out = out.data(),
                       .out_stride = width,
                       .other = other.data(),
                       .log_sums = a.data(),
                       .other_log_sums = b.data(),
                       .rows = c.heads,
                       .head_rows = c.heads,
                       .width = c.head_dim});
    EXPECT_CLOSE(out, whole, (Tolerance{2e-6, 2e-6}));
    EXPECT_CLOSE(a, log_sums, (Tolerance{1e-5, 1e-6}));
  }
}

TEST(CombineAttention, WeighsRowsThatLieApart) {
  // Two tokens of two heads of one number; a past three times as heavy, one that is as heavy, and one that is nothing.
  std::vector<float> out{1, 2, -7, 3, 4, -7}, sums{0, 1, 5, -200};
  const std::vector<float> other{5, 6, 7, 8}, other_sums{std::log2(3.0F), 1, -300, 100};
  combine_attention({.out = out.data(),
                     .out_stride = 3,
                     .other = other.data(),
                     .log_sums = sums.data(),
                     .other_log_sums = other_sums.data(),
                     .rows = 4,
                     .head_rows = 2,
                     .width = 1});
  EXPECT_CLOSE(out, (std::vector<float>{4, 4, -7, 3, 8, -7}), (Tolerance{1e-6, 1e-6}));
  EXPECT_CLOSE(sums, (std::vector<float>{2, 2, 5, 100}), (Tolerance{1e-6, 1e-6}));
}

TEST(CacheAttentionReference, TakesMeansOfVisibleValues) {
  // Equal keys: every query takes the mean of the values it sees.
  const std::vector<float> q{1, 1, 1}, k(kKeyBlock, 1.0F), v{1, 2, 6};
  std::vector<float> out(3);
  const void* keys = k.data();
  const void* values = v.data();
  const CacheAttentionSequence s{q.data(), out.data(), 3, 0, &keys, &values};
  CacheAttention args{Storage::f32, 1, 1, 1, 1, 1, 1, 0, 1, {&s, 1}};
  ref::cache_attention(args);
  EXPECT_CLOSE(out, (std::vector<float>{1, 1.5F, 3}), (Tolerance{.absolute = 1e-6}));
  args.window = 2;
  ref::cache_attention(args);
  EXPECT_CLOSE(out, (std::vector<float>{1, 1.5F, 4}), (Tolerance{.absolute = 1e-6}));
}

TEST(CacheAttentionChecks, RefusesWhatDoesNotFit) {
  base::ThreadPool pool(1);
  CacheAttention args{Storage::f32, 3, 2, 8, 8};
  EXPECT_THROW(cache_attention(args, pool), base::Error);
  args = {Storage::f32, 4, 2, 8, 7};
  EXPECT_THROW(cache_attention(args, pool), base::Error);
  args = {Storage::f32, 4, 2, 8, 8};
  args.window = -1;
  EXPECT_THROW(cache_attention(args, pool), base::Error);
}

}  // namespace
}  // namespace incontext::kernels
