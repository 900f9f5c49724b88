#include "kind_promises.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "support/temporary_directory.h"
#include "tensor/safetensors.h"

namespace incontext::cache {
namespace {

/// What a test's sequence has at a position, for layer and part: normal, and the same however it is cut into steps.
/// Some directions are stronger than others, as in real keys.
void fill_promise_rows(const char* what, int64_t layer, int64_t first, int64_t count, int64_t width,
                       std::vector<float>& rows) {
  rows.resize(static_cast<size_t>(count * width));
  for (int64_t i = 0; i < count; ++i) {
    const std::span<float> row(rows.data() + i * width, static_cast<size_t>(width));
    base::RandomStream(7, what, static_cast<uint64_t>(layer * 100000 + first + i)).fill_normal(row);
    for (int64_t d = 0; d < width; ++d) row[static_cast<size_t>(d)] *= 0.4F + 0.2F * static_cast<float>(d % 7);
  }
}

}  // namespace

DrivenCache::DrivenCache(std::shared_ptr<const CacheKind> kind, const CacheShape& shape, Scores scores)
    : shape_(shape), scores_(scores), cache_(kind->make(shape)) {}

std::vector<float> DrivenCache::step(int64_t count) {
  const int64_t first = cache_->length(), keys_width = shape_.kv_heads * shape_.head_dim;
  const int64_t width = shape_.heads * shape_.head_dim;
  std::vector<float> out(static_cast<size_t>(count * shape_.layers * width), -1);
  std::vector<float> keys, values, queries;
  for (int64_t layer = 0; layer < shape_.layers; ++layer) {
    fill_promise_rows("keys", layer, first, count, keys_width, keys);
    fill_promise_rows("values", layer, first, count, keys_width, values);
    fill_promise_rows("queries", layer, first, count, width, queries);
    cache_->append(layer, {keys.data(), keys_width}, {values.data(), keys_width}, count);
    cache_->attend(layer, {queries.data(), width}, count, scores_, out.data() + layer * width, shape_.layers * width);
  }
  return out;
}

std::vector<float> DrivenCache::read_prompt(int64_t length, int64_t part) {
  std::vector<float> out = decode(length, part);
  cache_->end_of_prompt();
  return out;
}

std::vector<float> DrivenCache::decode(int64_t count, int64_t part) {
  std::vector<float> out;
  for (int64_t done = 0; done < count; done += part) {
    const std::vector<float> step_out = step(std::min(part, count - done));
    out.insert(out.end(), step_out.begin(), step_out.end());
  }
  return out;
}

void check_promises(const std::shared_ptr<const CacheKind>& kind, const CacheShape& shape, int64_t prompt,
                    Filling filling) {
  constexpr int64_t kContinued = 100;
  ASSERT_LE(prompt + kContinued, shape.capacity);
  SCOPED_TRACE(kind->policy());

  DrivenCache straight(kind, shape), parts(kind, shape);
  DrivenCache full(open_kind(parse_policy("full"), {.shape = shape}), shape);
  EXPECT_EQ(full.decode(16, 16), DrivenCache(kind, shape).read_prompt(16, 16)) << "nothing is compressed yet";
  const std::vector<float> read = straight.read_prompt(prompt, prompt);
  EXPECT_EQ(parts.read_prompt(prompt, 37), read) << "the parts of a prompt";

  DrivenCache copied(kind, shape), saved(kind, shape);
  const testing::TemporaryDirectory directory;
  // A copy reads a prompt: here one token more, and its end comes at once.
  copied.take(parts.cache().copy_prefix(prompt, shape.capacity));
  tensor::write_safetensors(directory / "cache.safetensors", parts.cache().to_tensors());
  saved.cache().from_tensors(tensor::SafetensorsFile(directory / "cache.safetensors"), "", "cache.safetensors");
  EXPECT_EQ(saved.cache().length(), prompt);
  const std::vector<float> from_copy = copied.decode(8, 1);
  EXPECT_EQ(saved.decode(8, 1), from_copy) << "a saved cache and a copy";
  copied.cache().end_of_prompt();
  saved.cache().end_of_prompt();
  EXPECT_EQ(saved.decode(40, 1), copied.decode(40, 1)) << "a saved cache and a copy";

  const std::vector<float> one_by_one = straight.decode(kContinued, 1);
  EXPECT_EQ(parts.decode(kContinued, 7), one_by_one) << "tokens of a step";

  // Two sequences of this kind at once, and each alone.
  const int64_t width = shape.heads * shape.head_dim;
  DrivenCache other(kind, shape);
  other.read_prompt(prompt / 2, prompt);
  std::vector<float> queries;
  fill_promise_rows("queries", 0, prompt, 2, width, queries);
  std::vector<float> together(static_cast<size_t>(2 * width)), alone(together);
  const Attending both[] = {{.cache = &straight.cache(),
                             .queries = {queries.data(), width},
                             .count = 1,
                             .out = together.data(),
                             .out_stride = width},
                            {.cache = &other.cache(),
                             .queries = {queries.data() + width, width},
                             .count = 1,
                             .out = together.data() + width,
                             .out_stride = width}};
  kind->attend(0, both, {.scale = 0.3F});
  straight.cache().attend(0, {queries.data(), width}, 1, {.scale = 0.3F}, alone.data(), width);
  other.cache().attend(0, {queries.data() + width, width}, 1, {.scale = 0.3F}, alone.data() + width, width);
  EXPECT_EQ(together, alone) << "sequences together";

  CacheShape exactly = shape;
  exactly.capacity = prompt + kContinued;
  DrivenCache measured(kind, exactly);
  measured.decode(prompt, prompt);
  EXPECT_LE(measured.cache().bytes(), kind->reading_bytes(exactly, prompt));
  measured.cache().end_of_prompt();
  measured.decode(kContinued, 1);
  EXPECT_LE(measured.cache().bytes(), kind->bytes(exactly));
  EXPECT_LE(measured.cache().bytes(), kind->bytes_after(exactly, prompt));
  if (filling == Filling::even) {
    EXPECT_GE(measured.cache().bytes(), kind->bytes(exactly) * 2 / 3);
  }
}

}  // namespace incontext::cache
