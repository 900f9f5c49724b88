#include "cache/kinds/full.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cmath>

#include "base/file.h"
#include "base/random.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "tensor/safetensors.h"

namespace incontext::cache {
namespace {

using kernels::Storage;
using testing::error_of;

constexpr CacheShape kShape{.layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 8, .capacity = 700};
constexpr int64_t kKeyWidth = kShape.kv_heads * kShape.head_dim;
constexpr int64_t kQueryWidth = kShape.heads * kShape.head_dim;

std::vector<float> random_rows(int64_t count, int64_t width, uint64_t index) {
  std::vector<float> rows(static_cast<size_t>(count * width));
  base::RandomStream(1, "test rows", index).fill_normal(rows);
  return rows;
}

std::shared_ptr<const CacheKind> full(Storage storage) { return std::make_shared<FullKind>(storage); }

int64_t full_bytes(const CacheShape& shape, Storage storage) { return FullKind(storage).bytes(shape); }

// Appends tokens [first, first + count) of one fixed sequence to every layer.
void append(KvCache& cache, int64_t first, int64_t count) {
  static const std::vector<float> keys = random_rows(kShape.capacity, kKeyWidth, 0);
  static const std::vector<float> values = random_rows(kShape.capacity, kKeyWidth, 1);
  for (int64_t layer = 0; layer < kShape.layers; ++layer) {
    cache.append(layer, {keys.data() + first * kKeyWidth, kKeyWidth}, {values.data() + first * kKeyWidth, kKeyWidth},
                 count);
  }
}

std::vector<float> attend_last(const KvCache& cache, int64_t count) {
  static const std::vector<float> queries = random_rows(64, kQueryWidth, 2);
  std::vector<float> out(static_cast<size_t>(count * kQueryWidth), -1);
  cache.attend(1, {queries.data(), kQueryWidth}, count, {.scale = 0.3F}, out.data(), kQueryWidth);
  return out;
}

// Pages that the kernel really holds for a region.
int64_t pages_in_memory(const FullCache& cache) {
  const auto size = static_cast<size_t>(full_bytes(cache.shape(), cache.storage()));
  std::vector<unsigned char> present(size / base::Reservation::page_size());
  EXPECT_EQ(::mincore(const_cast<void*>(cache.keys(0)[0]), size, present.data()), 0);
  int64_t pages = 0;
  for (const unsigned char each : present) pages += each & 1;
  return pages;
}

TEST(FullCache, CountsTheBytesThatTheKernelHolds) {
  FullCache cache(full(Storage::bf16), kShape, Storage::bf16);
  EXPECT_EQ(cache.bytes(), 0);
  for (const int64_t count : {1, 200, 300, 199}) {
    append(cache, cache.length(), count);
    EXPECT_EQ(cache.bytes(), pages_in_memory(cache) * static_cast<int64_t>(base::Reservation::page_size()))
        << cache.length();
  }
  EXPECT_EQ(cache.length(), 700);
  EXPECT_EQ(cache.bytes(), full_bytes(kShape, Storage::bf16));
  cache.truncate(10);
  EXPECT_EQ(cache.bytes(), 2 * 2 * 2 * 4096);
  EXPECT_EQ(cache.bytes(), pages_in_memory(cache) * static_cast<int64_t>(base::Reservation::page_size()));
}

TEST(FullCache, KnowsTheBytesOfACapacityThatIsNoWholeBlock) {
  // 33 positions are two blocks of keys, 8 pages a head, and 33 rows of values, 5 pages.
  const CacheShape shape{.layers = 1, .heads = 1, .kv_heads = 1, .head_dim = 128, .capacity = 33};
  FullCache cache(full(Storage::f32), shape, Storage::f32);
  const std::vector<float> rows = random_rows(33, 128, 0);
  cache.append(0, {rows.data(), 128}, {rows.data(), 128}, 33);
  EXPECT_EQ(cache.bytes(), 13 * 4096);
  EXPECT_EQ(full_bytes(shape, Storage::f32), cache.bytes());
}

TEST(FullCache, RefusesMoreThanItsCapacity) {
  FullCache cache(full(Storage::bf16), kShape, Storage::bf16);
  append(cache, 0, 690);
  EXPECT_CONTAINS(error_of([&] { append(cache, 0, 11); }), "room for 700 tokens; it holds 690, and 11 more came");
}

TEST(FullCache, TruncatingAndGoingOnIsAsIfTheRestHadNeverCome) {
  FullCache straight(full(Storage::f16), kShape, Storage::f16), back(full(Storage::f16), kShape, Storage::f16);
  append(straight, 0, 300);
  append(back, 0, 290);
  append(back, 400, 50);
  back.truncate(290);
  append(back, 290, 10);
  EXPECT_EQ(attend_last(straight, 5), attend_last(back, 5));
}

TEST(FullCache, CopiesOfAPrefixAreCachesOfTheirOwn) {
  FullCache cache(full(Storage::bf16), kShape, Storage::bf16);
  append(cache, 0, 400);
  const auto copy = cache.copy_prefix(300, 500);
  EXPECT_EQ(copy->length(), 300);
  EXPECT_EQ(copy->shape().capacity, 500);
  cache.truncate(300);
  EXPECT_EQ(attend_last(*copy, 3), attend_last(cache, 3));
  append(*copy, 0, 200);
  EXPECT_EQ(cache.length(), 300);
  EXPECT_CONTAINS(error_of([&] { cache.copy_prefix(301, 500); }), "copy_prefix");
}

TEST(FullCache, StorageRoundsAsMuchAsItMay) {
  FullCache exact(full(Storage::f32), kShape, Storage::f32), half(full(Storage::f16), kShape, Storage::f16),
      brain(full(Storage::bf16), kShape, Storage::bf16);
  for (FullCache* cache : {&exact, &half, &brain}) append(*cache, 0, 600);
  const auto distance = [&](const FullCache& cache) {
    const std::vector<float> a = attend_last(exact, 8), b = attend_last(cache, 8);
    double largest = 0;
    for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
    return largest;
  };
  EXPECT_GT(distance(half), 1e-6);
  EXPECT_LT(distance(half), 1e-3);
  EXPECT_GT(distance(brain), 1e-5);
  EXPECT_LT(distance(brain), 1e-2);
}

TEST(FullCache, TheDefaultIsF16AndSaturates) {
  const auto usual = make_cache(parse_policy("full"), kShape);
  EXPECT_EQ(usual->policy(), "full");
  EXPECT_EQ(make_cache(parse_policy("full:f16"), kShape)->policy(), "full");
  EXPECT_EQ(make_cache(parse_policy("full:bf16"), kShape)->policy(), "full:bf16");
  // A value that no half holds is kept as the largest half: attention over it stays finite, and is that half.
  std::vector<float> keys(kKeyWidth, 0), values(kKeyWidth, -1e6F);
  for (int64_t layer = 0; layer < kShape.layers; ++layer) {
    usual->append(layer, {keys.data(), kKeyWidth}, {values.data(), kKeyWidth}, 1);
  }
  for (const float each : attend_last(*usual, 1)) EXPECT_EQ(each, -65504.0F);
}

TEST(FullCache, FilesHoldKeysAndValuesAsRows) {
  const testing::TemporaryDirectory place;
  for (const Storage storage : {Storage::f32, Storage::f16, Storage::bf16}) {
    FullCache cache(full(storage), kShape, storage);
    append(cache, 0, 70);
    tensor::write_safetensors(place / "cache", cache.to_tensors());
    const std::vector<float> expected = random_rows(kShape.capacity, kKeyWidth, 0);
    const torch::Tensor keys = tensor::SafetensorsFile(place / "cache").tensor("layers.1.keys");
    EXPECT_EQ(keys.sizes(), torch::IntArrayRef({2, 70, 8}));
    for (const int64_t position : {0, 1, 16, 31, 32, 69}) {
      for (const int64_t head : {0, 1}) {
        for (const int64_t d : {0, 7}) {
          const auto element = static_cast<size_t>(position * kKeyWidth + head * kShape.head_dim + d);
          float rounded = 0;
          kernels::write_element(storage, &rounded, 0, expected[element]);
          EXPECT_EQ(keys[head][position][d].item<float>(), kernels::read_element(storage, &rounded, 0));
        }
      }
    }
    std::filesystem::remove(place / "cache");
  }
}

// Two models' caches in one call: each group of heads is computed with its own shape.
TEST(FullCache, SequencesOfOtherShapesGoTogether) {
  CacheShape other = kShape;
  other.heads = 2;
  other.kv_heads = 1;
  const auto kind = full(Storage::f32);
  FullCache first(kind, kShape, Storage::f32), second(kind, other, Storage::f32);
  append(first, 0, 40);
  const std::vector<float> rows = random_rows(40, other.head_dim, 5), queries = random_rows(2, kQueryWidth, 6);
  second.append(0, {rows.data(), 8}, {rows.data(), 8}, 40);
  const auto run = [&](const std::vector<const FullCache*>& caches) {
    std::vector<std::vector<float>> out;
    std::vector<Attending> sequences;
    for (size_t i = 0; i < caches.size(); ++i) out.emplace_back(static_cast<size_t>(kQueryWidth), -1);
    for (size_t i = 0; i < caches.size(); ++i) {
      sequences.push_back({.cache = caches[i],
                           .queries = {queries.data() + (caches[i] == &first ? 0 : kQueryWidth), kQueryWidth},
                           .count = 1,
                           .out = out[i].data(),
                           .out_stride = kQueryWidth});
    }
    attend(0, sequences, {.scale = 0.3F});
    return out;
  };
  const auto together = run({&first, &second});
  EXPECT_EQ(together[0], run({&first})[0]);
  EXPECT_EQ(together[1], run({&second})[0]);
}

}  // namespace
}  // namespace incontext::cache
