#include "kernels/code_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kernels/inputs.h"
#include "support/close.h"
#include "support/errors.h"

namespace incontext::kernels {
namespace {

using testing::error_of;
using testing::exact;
using testing::Tolerance;

constexpr IntegerCodes keys_of(int bits, int64_t group = 32) {
  return {.bits = bits, .zeros = group == 0, .group = group};
}
constexpr IntegerCodes values_of(int bits, bool zeros = false, int64_t group = 32) {
  return {.bits = bits, .zeros = zeros, .group = group, .values = true};
}

struct CodeCase {
  IntegerCodes keys = keys_of(8), values = values_of(8);
  int64_t heads = 2, kv_heads = 1, head_dim = 32;
  float q_scale = 3;

  int64_t block_bytes() const { return kv_heads * (keys.bytes(head_dim) + values.bytes(head_dim)) + 6; }
};

/// Random codes of one sequence, and its queries. What lies between blocks is NaN as a half.
struct CodedSequence {
  std::vector<std::byte> codes;
  Matrix q, out;
  int64_t first, last;
  std::vector<float> log_sums;

  CodedSequence(const CodeCase& c, int64_t first_position, int64_t last_position, int64_t count, std::mt19937& random)
      : codes(static_cast<std::size_t>((last_position + kCodeBlock - 1) / kCodeBlock * c.block_bytes()),
              std::byte{0xFF}),
        q(count, c.heads * c.head_dim, 3, 1),
        out(count, c.heads * c.head_dim, 2, 1),
        first(first_position),
        last(last_position),
        log_sums(static_cast<std::size_t>(count * c.heads)) {
    std::uniform_int_distribution<int> byte(0, 255);
    std::uniform_real_distribution<float> uniform(0.2F, 1);
    for (int64_t block = 0; block * kCodeBlock < last; ++block) {
      std::byte* to = codes.data() + block * c.block_bytes();
      for (int64_t head = 0; head < c.kv_heads; ++head) {
        for (const IntegerCodes& part : {c.keys, c.values}) {
          // Numbers of about 1, some with a negative scale, as q4_0 has them.
          const int64_t scales = part.scales(c.head_dim);
          for (int64_t i = 0; i < scales; ++i) {
            const float scale =
                uniform(random) * (i % 3 == 0 ? -1.0F : 1.0F) / static_cast<float>(1 << (part.bits - 1));
            write_element(Storage::f16, to, i, scale);
            if (part.zeros) write_element(Storage::f16, to, scales + i, 1 - 2 * uniform(random));
          }
          for (int64_t i = part.row_start(c.head_dim, 0); i < part.bytes(c.head_dim); ++i) {
            to[i] = static_cast<std::byte>(byte(random));
          }
          to += part.bytes(c.head_dim);
        }
      }
    }
    q.fill(random);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t d = 0; d < q.columns(); ++d) q.at(i, d) *= c.q_scale;
    }
  }

  int64_t count() const { return q.rows(); }
  CodeAttentionSequence tokens(const CodeCase& c, int64_t from, int64_t size) {
    return {q.data() + from * q.stride(),    out.data() + from * out.stride(), size, first, last, codes.data(),
            log_sums.data() + from * c.heads};
  }
  CodeAttentionSequence all(const CodeCase& c) { return tokens(c, 0, count()); }
  void clear() {
    for (int64_t i = 0; i < count(); ++i) std::fill_n(&out.at(i, 0), out.columns(), kNaN);
    std::fill(log_sums.begin(), log_sums.end(), kNaN);
  }
};

CodeAttention code_arguments(const CodeCase& c, std::span<const CodeAttentionSequence> sequences) {
  return {.keys = c.keys,
          .values = c.values,
          .heads = c.heads,
          .kv_heads = c.kv_heads,
          .head_dim = c.head_dim,
          .q_stride = c.heads * c.head_dim + 3,
          .out_stride = c.heads * c.head_dim + 2,
          .block_bytes = c.block_bytes(),
          .scale = 1 / std::sqrt(static_cast<float>(c.head_dim)),
          .sequences = sequences};
}

/// What one call gives: out, then log sums.
std::vector<float> attend_codes(const CodeCase& c, CodedSequence& s, base::ThreadPool* pool) {
  s.clear();
  const CodeAttentionSequence all = s.all(c);
  if (pool != nullptr) {
    code_attention(code_arguments(c, {&all, 1}), *pool);
  } else {
    ref::code_attention(code_arguments(c, {&all, 1}));
  }
  EXPECT_TRUE(s.out.padding_is_untouched());
  std::vector<float> result = s.out.values();
  result.insert(result.end(), s.log_sums.begin(), s.log_sums.end());
  return result;
}

void expect_as_reference(const CodeCase& c, int64_t first, int64_t last, int64_t count, std::mt19937& random,
                         base::ThreadPool& pool) {
  SCOPED_TRACE(fmt::format("bits {} / {}, groups {} / {}, heads {} / {}, head_dim {}, positions {} to {}, count {}",
                           c.keys.bits, c.values.bits, c.keys.group, c.values.group, c.heads, c.kv_heads, c.head_dim,
                           first, last, count));
  CodedSequence s(c, first, last, count, random);
  const std::vector<float> fast = attend_codes(c, s, &pool);
  // Codes that count from 0 make sums of larger terms than those from which the result is left.
  EXPECT_CLOSE(fast, attend_codes(c, s, nullptr), (Tolerance{6e-6, 3e-6}));
}

const std::vector<std::pair<IntegerCodes, IntegerCodes>> kForms{{keys_of(8), values_of(8)},
                                                                {keys_of(4), values_of(4)},
                                                                {keys_of(8), values_of(4)},
                                                                {keys_of(4), values_of(8)},
                                                                {keys_of(2), values_of(2)},
                                                                {keys_of(2, 0), values_of(2, true)},
                                                                {keys_of(4, 0), values_of(4, true)},
                                                                {keys_of(4, 64), values_of(2, true, 64)},
                                                                {keys_of(8, 0), values_of(8, true, 128)}};

class CodeAttentionTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(CodeAttentionTest);

TEST_P(CodeAttentionTest, SweepsPositionsAndForms) {
  for (const auto& [keys, values] : kForms) {
    for (const auto& [first, last] : {std::pair<int64_t, int64_t>{0, 32},
                                      {0, 1},
                                      {31, 33},
                                      {5, 64},
                                      {0, 256},
                                      {250, 260},
                                      {0, 288},
                                      {100, 1056},
                                      {1030, 1100},
                                      {0, 2100}}) {
      for (const int64_t count : {1, 3}) {
        expect_as_reference({keys, values, 4, 2, 64}, first, last, count, random_, pool_);
      }
    }
  }
}

TEST_P(CodeAttentionTest, SweepsHeads) {
  for (const auto& [keys, values] : kForms) {
    for (const int64_t head_dim : {1, 7, 16, 32, 33, 48, 80, 96, 100, 128, 160}) {
      expect_as_reference({keys, values, 2, 1, head_dim}, 3, 90, 1, random_, pool_);
    }
    for (const int64_t group : {1, 2, 3, 4, 5, 8, 9}) {
      expect_as_reference({keys, values, 2 * group, 2, 32}, 0, 300, 2, random_, pool_);
    }
  }
}

TEST_P(CodeAttentionTest, HugeScoresDoNotOverflow) {
  for (const auto& [keys, values] : kForms) {
    CodeCase c{keys, values, 2, 1, 64};
    c.q_scale = 1e6F;
    CodedSequence s(c, 0, 640, 1, random_);
    for (const float each : attend_codes(c, s, &pool_)) EXPECT_TRUE(std::isfinite(each));
  }
}

TEST_P(CodeAttentionTest, BitsDoNotDependOnTheCallOrOnThreads) {
  for (const auto& [keys, values] : kForms) {
    const CodeCase c{keys, values, 6, 2, 64};
    CodedSequence s(c, 40, 2300, 7, random_);
    const std::vector<float> at_once = attend_codes(c, s, &pool_);
    for (const int threads : {1, 3}) {
      base::ThreadPool other(threads);
      EXPECT_CLOSE(attend_codes(c, s, &other), at_once, exact());
    }
    for (const int64_t step : {1, 2, 3}) {
      s.clear();
      for (int64_t i = 0; i < s.count(); i += step) {
        const CodeAttentionSequence part = s.tokens(c, i, std::min(step, s.count() - i));
        code_attention(code_arguments(c, {&part, 1}), pool_);
      }
      std::vector<float> apart = s.out.values();
      apart.insert(apart.end(), s.log_sums.begin(), s.log_sums.end());
      EXPECT_CLOSE(apart, at_once, exact());
    }
    CodedSequence other(c, 0, 100, 2, random_);
    const std::vector<float> alone = attend_codes(c, other, &pool_);
    s.clear();
    other.clear();
    const CodeAttentionSequence both[] = {s.all(c), other.all(c)};
    code_attention(code_arguments(c, both), pool_);
    std::vector<float> together = other.out.values();
    together.insert(together.end(), other.log_sums.begin(), other.log_sums.end());
    EXPECT_CLOSE(together, alone, exact());
  }
}

TEST(IntegerCodes, KeepsEveryCodeWhereItIsRead) {
  for (const int bits : {8, 4, 2}) {
    std::vector<std::byte> row(static_cast<std::size_t>(32 * bits / 8));
    const auto code = [&](int i) { return bits == 8 ? i * 7 - 120 : i * 5 % (1 << bits); };
    for (int i = 0; i < 32; ++i) write_code(row.data(), bits, i, code(i));
    for (int i = 0; i < 32; ++i) EXPECT_EQ(read_code(row.data(), bits, i), code(i));
  }
}

TEST(IntegerCodes, TakesTheBitsThatItsFormIsKnownFor) {
  // q8_0 8.5 bits, q4_0 4.5; KIVI b + 1, 0.5 and 0.25 with groups of 32, 64 and 128 values.
  EXPECT_EQ(keys_of(8).bytes(64), 32 * 64 * 17 / 16);
  EXPECT_EQ(values_of(4).bytes(128), 32 * 128 * 9 / 16);
  EXPECT_EQ(keys_of(2, 0).bytes(64), 32 * 64 * 3 / 8);
  EXPECT_EQ(values_of(4, true, 64).bytes(128), 32 * 128 * 9 / 16);
  EXPECT_EQ(values_of(2, true, 128).bytes(128), 32 * 128 * 9 / 32);
}

TEST(CodeAttentionReference, IsTheMeanOfWhatCodesStandFor) {
  // One KV head of one channel: keys are all 0, values 3 (c - 8) + nothing at two positions.
  const CodeCase c{keys_of(8), values_of(4), 1, 1, 1};
  std::vector<std::byte> codes(static_cast<std::size_t>(c.block_bytes()));
  std::byte* values = codes.data() + c.keys.bytes(1);
  for (int64_t position = 0; position < 32; ++position) write_element(Storage::f16, values, position, 3);
  write_code(values + c.values.row_start(1, 4), 4, 0, 9);
  write_code(values + c.values.row_start(1, 5), 4, 0, 15);
  const float q = 1;
  float out = 0, log_sum = 0;
  const CodeAttentionSequence s{&q, &out, 1, 4, 6, codes.data(), &log_sum};
  CodeAttention args = code_arguments(c, {&s, 1});
  ref::code_attention(args);
  EXPECT_FLOAT_EQ(out, (3 + 21) / 2.0F);
  EXPECT_FLOAT_EQ(log_sum, 1);
}

TEST(CodeAttentionChecks, RefusesWhatDoesNotFit) {
  base::ThreadPool pool(1);
  CodeCase c;
  const auto refusal = [&] {
    CodeAttention args = code_arguments(c, {});
    return error_of([&] { code_attention(args, pool); });
  };
  EXPECT_EQ(refusal(), "no error");
  c.keys.bits = 3;
  EXPECT_CONTAINS(refusal(), "8, 4 or 2 bits");
  c.keys = {.zeros = true};
  EXPECT_CONTAINS(refusal(), "expected keys");
  c.keys = keys_of(8);
  c.values.group = 48;
  EXPECT_CONTAINS(refusal(), "expected values");
  c.values = values_of(8);
  c.heads = 3;
  c.kv_heads = 2;
  EXPECT_CONTAINS(refusal(), "multiple of kv_heads");
  c = {};
  CodeAttentionSequence s{.first = 3, .last = 3};
  EXPECT_CONTAINS(error_of([&] { code_attention(code_arguments(c, {&s, 1}), pool); }), "3 to 3");
}

}  // namespace
}  // namespace incontext::kernels
