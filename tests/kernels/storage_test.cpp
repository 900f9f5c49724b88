#include "kernels/storage.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/cache_store.h"
#include "kernels/inputs.h"
#include "kernels/stored.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::exact;

TEST(StorageConversions, RoundToNearestEven) {
  EXPECT_EQ(to_bf16(1.0F), 0x3F80);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F808000U)), 0x3F80);  // halfway to the odd neighbour
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F818000U)), 0x3F82);  // halfway from an odd value
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F808001U)), 0x3F81);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_EQ(to_f16(1.0F), 0x3C00);
  EXPECT_EQ(to_f16(1.0F + 0x1.0p-11F), 0x3C00);
  EXPECT_EQ(to_f16(1.0F + 3 * 0x1.0p-11F), 0x3C02);
  EXPECT_EQ(to_f16(65504.0F), 0x7BFF);
  EXPECT_EQ(to_f16(65519.99F), 0x7BFF);
  EXPECT_EQ(to_f16(65520.0F), 0x7C00);
  EXPECT_EQ(to_f16(-1e30F), 0xFC00);
  EXPECT_EQ(to_f16(0x1.0p-24F), 0x0001);
  EXPECT_EQ(to_f16(0x1.0p-25F), 0x0000);
  EXPECT_EQ(to_f16(-0x1.8p-25F), 0x8001);
  EXPECT_EQ(to_f16(0x1.ffcp-15F), 0x0400);  // the largest subnormal is 0x1.ff8p-15; halfway to 2^-14 goes to even
  EXPECT_EQ(to_f16(-0.0F), 0x8000);
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(from_f16(to_f16(inf)), inf);
  EXPECT_EQ(from_bf16(to_bf16(-inf)), -inf);
  // A signalling NaN whose payload lies in the bits that are cut off.
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::bit_cast<float>(0x7F800001U)))));
  EXPECT_TRUE(std::isnan(from_f16(to_f16(std::bit_cast<float>(0x7F800001U)))));
}

TEST(StorageConversions, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits <= 0xFFFFU; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const int exponent = static_cast<int>((bits >> 10U) & 31U);
    const auto mantissa = static_cast<double>(bits & 1023U);
    if (exponent < 31) {
      const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
      EXPECT_EQ(static_cast<double>(from_f16(half)), (bits & 0x8000U) != 0 ? -magnitude : magnitude) << bits;
    }
    const bool is_nan = exponent == 31 && mantissa > 0;
    if (is_nan) {
      EXPECT_TRUE(std::isnan(from_f16(half)) && std::isnan(from_f16(to_f16(from_f16(half)))));
    } else {
      EXPECT_EQ(to_f16(from_f16(half)), half);
    }
    if (!std::isnan(from_bf16(half))) {
      EXPECT_EQ(to_bf16(from_bf16(half)), half);
    }
  }
}

class StorageTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(StorageTest);

TEST_P(StorageTest, RowsReadLikeElements) {
  for (const Storage storage : kAllStorages) {
    for (int64_t size = 0; size <= 70; ++size) {
      StoredMatrix row(storage, 1, size, 0, 1);
      row.fill(random_);
      std::vector<float> fast(static_cast<std::size_t>(size)), slow(fast);
      read_row(storage, row.data(), size, fast.data());
      for (int64_t i = 0; i < size; ++i) slow[static_cast<std::size_t>(i)] = read_element(storage, row.data(), i);
      EXPECT_CLOSE(fast, slow, exact());
    }
  }
}

/// The bits of what write_row makes of these values, against write_element.
void expect_same_bits(Storage storage, const std::vector<float>& values) {
  const auto size = static_cast<int64_t>(values.size());
  StoredMatrix fast(storage, 1, size, 0, 1), slow(storage, 1, size, 0, 1);
  write_row(storage, values.data(), size, fast.data());
  for (int64_t i = 0; i < size; ++i) write_element(storage, slow.data(), i, values[static_cast<std::size_t>(i)]);
  EXPECT_EQ(fast.bytes(), slow.bytes());
}

TEST_P(StorageTest, RowsAreRoundedLikeElements) {
  std::vector<float> values;
  for (uint32_t bits = 0; bits < 0x10000U;
       ++bits) {  // every sign and exponent, around every place where rounding turns
    for (const uint32_t low : {0U, 0x0FFFU, 0x1000U, 0x1001U, 0x7FFFU, 0x8000U, 0x8001U, 0xFFFFU}) {
      const auto value = std::bit_cast<float>((bits << 16U) | low);
      if (!std::isnan(value)) values.push_back(value);
    }
  }
  for (const Storage storage : kAllStorages) {
    expect_same_bits(storage, values);
    for (std::size_t size = 0; size <= 40; ++size) {
      expect_same_bits(storage, {values.begin() + 1000, values.begin() + 1000 + static_cast<std::ptrdiff_t>(size)});
    }
  }
}

TEST_P(StorageTest, EveryHalfReads) {
  std::vector<uint16_t> halves;
  std::vector<float> expected;
  for (uint32_t bits = 0; bits <= 0xFFFFU; ++bits) {
    const float value = from_f16(static_cast<uint16_t>(bits));
    if (std::isnan(value)) continue;
    halves.push_back(static_cast<uint16_t>(bits));
    expected.push_back(value);
  }
  std::vector<float> actual(halves.size());
  read_row(Storage::f16, halves.data(), static_cast<int64_t>(halves.size()), actual.data());
  EXPECT_CLOSE(actual, expected, exact());
}

TEST_P(StorageTest, NaNStaysNaN) {
  const std::vector<float> values(19, std::bit_cast<float>(0x7F800001U));
  for (const Storage storage : kAllStorages) {
    StoredMatrix row(storage, 1, 19, 0, 1);
    write_row(storage, values.data(), 19, row.data());
    std::vector<float> back(19, 0.0F);
    read_row(storage, row.data(), 19, back.data());
    for (const float value : back) EXPECT_TRUE(std::isnan(value));
  }
}

TEST_P(StorageTest, CachesTakeKeysInBlocksAndValuesAsRows) {
  struct Shape {
    int64_t kv_heads, head_dim, count, first;
  };
  for (const Storage storage : kAllStorages) {
    for (const Shape& s : {Shape{1, 64, 1, 0}, Shape{3, 7, 5, 2}, Shape{2, 80, 70, 9}, Shape{2, 1, 33, 1}}) {
      const int64_t capacity = s.first + s.count + 2;
      const auto heads = static_cast<std::size_t>(2 * s.kv_heads);  // of two sequences
      Matrix rows(s.count, s.kv_heads * s.head_dim, 3, 1);
      rows.fill(random_);
      std::vector<StoredKeys> fast_keys(heads, StoredKeys(storage, capacity, s.head_dim)), slow_keys = fast_keys;
      std::vector<StoredMatrix> fast_values(heads, StoredMatrix(storage, capacity, s.head_dim, 3, 1));
      std::vector<StoredMatrix> slow_values = fast_values;
      // The second sequence keeps the rows of the first from row 1 on.
      const auto sequences = [&](void* const* at) {
        return std::vector<CacheStoreSequence>{
            {rows.data(), rows.stride(), s.count, s.first, at},
            {rows.data() + rows.stride(), rows.stride(), s.count - 1, 0, at + s.kv_heads}};
      };
      const auto places = [](auto& caches) {
        std::vector<void*> all;
        for (auto& each : caches) all.push_back(each.data());
        return all;
      };
      const std::vector<void*> fast_key_places = places(fast_keys), fast_value_places = places(fast_values);
      const std::vector<void*> slow_key_places = places(slow_keys), slow_value_places = places(slow_values);
      CacheStore args{storage, s.kv_heads, s.head_dim, s.head_dim + 3};
      std::vector<CacheStoreSequence> keys = sequences(fast_key_places.data());
      std::vector<CacheStoreSequence> values = sequences(fast_value_places.data());
      args.keys = keys, args.values = values;
      cache_store(args, pool_);
      keys = sequences(slow_key_places.data()), values = sequences(slow_value_places.data());
      args.keys = keys, args.values = values;
      ref::cache_store(args);
      for (std::size_t g = 0; g < heads; ++g) {
        EXPECT_EQ(fast_keys[g].bytes(), slow_keys[g].bytes());
        EXPECT_EQ(fast_values[g].bytes(), slow_values[g].bytes());
      }
      if (storage == Storage::f32) {
        EXPECT_EQ(slow_values[0].at(s.first, 0), rows.at(0, 0));
      }
    }
  }
}

TEST_P(StorageTest, CachesSaturateInF16) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> row = {
      65504.0F, 65519.0F, 65520.0F, 1e6F, inf, -65520.0F, -inf, 1.5F, std::numeric_limits<float>::quiet_NaN()};
  const auto width = static_cast<int64_t>(row.size());
  std::vector<uint16_t> key(static_cast<std::size_t>(width * kKeyBlock)), value(row.size());
  void* key_place = key.data();
  void* value_place = value.data();
  const CacheStoreSequence keys{row.data(), width, 1, 0, &key_place}, values{row.data(), width, 1, 0, &value_place};
  CacheStore args{Storage::f16, 1, width, width};
  args.keys = {&keys, 1}, args.values = {&values, 1};
  cache_store(args, pool_);
  const std::vector<float> kept = {65504, 65504, 65504, 65504, 65504, -65504, -65504, 1.5F};
  for (std::size_t d = 0; d < kept.size(); ++d) {
    EXPECT_EQ(from_f16(value[d]), kept[d]) << d;
    EXPECT_EQ(from_f16(key[d * kKeyBlock]), kept[d]) << d;
  }
  EXPECT_TRUE(std::isnan(from_f16(value.back())));
}

TEST(KeyBlocks, EveryElementHasAPlaceOfItsOwn) {
  for (const Storage storage : kAllStorages) {
    constexpr int64_t kHeadDim = 3, kPositions = 2 * kKeyBlock;
    std::vector<int64_t> found;
    for (int64_t position = 0; position < kPositions; ++position) {
      for (int64_t d = 0; d < kHeadDim; ++d) found.push_back(key_element(storage, kHeadDim, position, d));
    }
    std::sort(found.begin(), found.end());
    for (int64_t i = 0; i < kHeadDim * kPositions; ++i) EXPECT_EQ(found[static_cast<std::size_t>(i)], i);
  }
  EXPECT_EQ(key_blocks(0), 0);
  EXPECT_EQ(key_blocks(kKeyBlock), 1);
  EXPECT_EQ(key_blocks(kKeyBlock + 1), 2);
}

TEST(StorageChecks, RefusesPositionsThatOverlap) {
  base::ThreadPool pool(1);
  const CacheStoreSequence none;
  CacheStore args{Storage::f16, 1, 8, 7};
  args.values = {&none, 1};
  EXPECT_THROW(cache_store(args, pool), base::Error);
}

}  // namespace
}  // namespace incontext::kernels
