#include "cache/full_cache.h"

#include <cstring>

#include "base/error.h"
#include "kernels/cache_store.h"
#include "tensor/device.h"
#include "tensor/safetensors.h"
#include "tensor/torch.h"

namespace incontext::cache {
namespace {

using kernels::Storage;

const char* name_of(Storage storage) {
  switch (storage) {
    case Storage::f32:
      return "f32";
    case Storage::f16:
      return "f16";
    case Storage::bf16:
      return "bf16";
  }
  return "";
}

torch::ScalarType dtype_of(Storage storage) {
  if (storage == Storage::f32) return torch::kFloat32;
  return storage == Storage::f16 ? torch::kFloat16 : torch::kBFloat16;
}

int64_t pages_of(int64_t bytes) {
  return static_cast<int64_t>(base::Reservation::round_up_to_pages(static_cast<size_t>(bytes)));
}

int64_t head_bytes(const CacheShape& shape, Storage storage) {
  return pages_of(shape.capacity * shape.head_dim * kernels::bytes_per_element(storage));
}

}  // namespace

int64_t FullCache::full_bytes(const CacheShape& shape, Storage storage) {
  return shape.layers * 2 * shape.kv_heads * cache::head_bytes(shape, storage);
}

FullCache::FullCache(const CacheShape& shape, Storage storage)
    : KvCache(shape),
      storage_(storage),
      head_bytes_(cache::head_bytes(shape, storage)),
      memory_(static_cast<size_t>(full_bytes(shape, storage))) {
  for (int64_t index = 0; index < shape.layers * 2 * shape.kv_heads; ++index) {
    heads_.push_back(memory_.data() + index * head_bytes_);
  }
}

std::byte* FullCache::head(int64_t layer, Part part, int64_t kv_head) const {
  return memory_.data() + ((layer * 2 + static_cast<int64_t>(part)) * shape().kv_heads + kv_head) * head_bytes_;
}

void FullCache::store(int64_t layer, const Rows& keys, const Rows& values, int64_t first, int64_t count) {
  const int64_t kv_heads = shape().kv_heads;
  void* const* heads = heads_.data() + layer * 2 * kv_heads;
  const kernels::CacheStoreSequence parts[2] = {
      {.rows = keys.data, .row_stride = keys.stride, .count = count, .first_position = first, .heads = heads},
      {.rows = values.data,
       .row_stride = values.stride,
       .count = count,
       .first_position = first,
       .heads = heads + kv_heads}};
  kernels::cache_store({.storage = storage_,
                        .kv_heads = kv_heads,
                        .head_dim = shape().head_dim,
                        .cache_stride = shape().head_dim,
                        .sequences = parts},
                       tensor::kernel_pool());
}

void FullCache::attend(int64_t layer, const Rows& queries, int64_t count, const Scores& scores, float* out,
                       int64_t out_stride) const {
  const Attending alone{.cache = this, .queries = queries, .count = count, .out = out, .out_stride = out_stride};
  cache::attend(layer, {&alone, 1}, scores);
}

std::optional<PlainRows> FullCache::plain_rows(int64_t layer) const {
  const void* const* heads = heads_.data() + layer * 2 * shape().kv_heads;
  return PlainRows{.storage = storage_, .stride = shape().head_dim, .keys = heads, .values = heads + shape().kv_heads};
}

int64_t FullCache::bytes() const {
  int64_t total = 0;
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    total += 2 * shape().kv_heads * pages_of(length(layer) * row_bytes());
  }
  return total;
}

void FullCache::forget(int64_t length) {
  const auto kept = static_cast<size_t>(length * row_bytes());
  for (size_t index = 0; index < heads_.size(); ++index) {
    memory_.release(index * static_cast<size_t>(head_bytes_) + kept, static_cast<size_t>(head_bytes_) - kept);
  }
}

std::string FullCache::policy() const {
  return storage_ == Storage::bf16 ? "full" : fmt::format("full:{}", name_of(storage_));
}

std::unique_ptr<KvCache> FullCache::copy_prefix(int64_t length, int64_t capacity) const {
  base::check(0 <= length && length <= this->length(shape().layers - 1) && length <= capacity,
              "[copy_prefix] expected a length of at most {} and {}, got {}", this->length(shape().layers - 1),
              capacity, length);
  CacheShape shape = this->shape();
  shape.capacity = capacity;
  auto copy = std::make_unique<FullCache>(shape, storage_);
  for (size_t index = 0; index < heads_.size(); ++index) {
    std::memcpy(copy->heads_[index], heads_[index], static_cast<size_t>(length * row_bytes()));
  }
  copy->set_length(length);
  return copy;
}

void FullCache::save(const std::filesystem::path& path, const std::string& fingerprint) const {
  tensor::NamedTensors tensors;
  const int64_t held = length(shape().layers - 1);
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    for (const Part part : {Part::keys, Part::values}) {
      tensors[fmt::format("layers.{}.{}", layer, part == Part::keys ? "keys" : "values")] = torch::from_blob(
          head(layer, part, 0), {shape().kv_heads, held, shape().head_dim},
          {head_bytes_ / kernels::bytes_per_element(storage_), shape().head_dim, 1}, dtype_of(storage_));
    }
  }
  tensor::write_safetensors(path, tensors, {{"policy", policy()}, {"fingerprint", fingerprint}});
}

void FullCache::load(const std::filesystem::path& path, const std::string& fingerprint) {
  const tensor::SafetensorsFile file(path);
  for (const auto& [key, expected] :
       std::map<std::string, std::string>{{"fingerprint", fingerprint}, {"policy", policy()}}) {
    const auto found = file.metadata().find(key);
    base::check(found != file.metadata().end(), "{}: not a saved cache: '{}' is missing", path.string(), key);
    base::check(found->second == expected, "{}: expected {} '{}', got '{}'", path.string(), key, expected,
                found->second);
  }
  int64_t held = -1;
  std::vector<torch::Tensor> parts;
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    for (const char* part : {"keys", "values"}) {
      const std::string name = fmt::format("layers.{}.{}", layer, part);
      const torch::Tensor rows = file.tensor(name);
      if (held < 0 && rows.dim() == 3) held = rows.size(1);
      base::check(rows.scalar_type() == dtype_of(storage_) &&
                      rows.sizes() == torch::IntArrayRef({shape().kv_heads, held, shape().head_dim}) &&
                      held <= shape().capacity,
                  "{}: tensor '{}': expected {} [{}, at most {}, {}], got {} [{}]", path.string(), name,
                  name_of(storage_), shape().kv_heads, shape().capacity, shape().head_dim,
                  torch::toString(rows.scalar_type()), fmt::join(rows.sizes(), ", "));
      parts.push_back(rows.contiguous());
    }
  }
  truncate(0);
  for (size_t index = 0; index < heads_.size(); ++index) {
    const auto kv_heads = static_cast<size_t>(shape().kv_heads);
    const auto size = static_cast<size_t>(held * row_bytes());
    const auto* rows = static_cast<const std::byte*>(parts[index / kv_heads].data_ptr());
    std::memcpy(heads_[index], rows + (index % kv_heads) * size, size);
  }
  set_length(held);
}

}  // namespace incontext::cache
