#include "cache/kinds/full.h"

#include <cstring>

#include "base/error.h"
#include "kernels/cache_attention.h"
#include "kernels/cache_store.h"
#include "kernels/key_blocks.h"
#include "kernels/storage_names.h"
#include "tensor/device.h"
#include "tensor/safetensors.h"
#include "tensor/torch.h"

namespace incontext::cache {
namespace {

using kernels::Storage;

torch::ScalarType dtype_of(Storage storage) {
  if (storage == Storage::f32) return torch::kFloat32;
  return storage == Storage::f16 ? torch::kFloat16 : torch::kBFloat16;
}

int64_t pages_of(int64_t bytes) {
  return static_cast<int64_t>(base::Reservation::round_up_to_pages(static_cast<size_t>(bytes)));
}

// Room for keys, whose last block is always whole; values have the same.
int64_t head_bytes(const CacheShape& shape, Storage storage) {
  return pages_of(kernels::key_blocks(shape.capacity) * kernels::kKeyBlock * shape.head_dim *
                  kernels::bytes_per_element(storage));
}

// Where the positions of a block of keys lie in it.
torch::Tensor key_places(Storage storage) {
  std::vector<int64_t> places;
  for (int64_t position = 0; position < kernels::kKeyBlock; ++position) {
    places.push_back(kernels::key_place(storage, position));
  }
  return torch::tensor(places);
}

}  // namespace

FullCache::FullCache(std::shared_ptr<const CacheKind> kind, const CacheShape& shape, Storage storage)
    : KvCache(std::move(kind), shape),
      storage_(storage),
      head_bytes_(cache::head_bytes(shape, storage)),
      memory_(static_cast<size_t>(shape.layers * 2 * shape.kv_heads * head_bytes_)) {
  for (int64_t index = 0; index < shape.layers * 2 * shape.kv_heads; ++index) {
    heads_.push_back(memory_.data() + index * head_bytes_);
  }
}

int64_t FullCache::part_bytes(Part part, int64_t length) const {
  const int64_t positions = part == Part::keys ? kernels::key_blocks(length) * kernels::kKeyBlock : length;
  return positions * shape().head_dim * kernels::bytes_per_element(storage_);
}

FullCache::Part FullCache::part_of(size_t index) const {
  return index / static_cast<size_t>(shape().kv_heads) % 2 == 0 ? Part::keys : Part::values;
}

torch::Tensor FullCache::part(int64_t layer, Part part, int64_t length) const {
  void* first = heads_[static_cast<size_t>((layer * 2 + static_cast<int64_t>(part)) * shape().kv_heads)];
  const int64_t head_dim = shape().head_dim;
  const int64_t head_stride = head_bytes_ / kernels::bytes_per_element(storage_);
  if (part == Part::values) {
    return torch::from_blob(first, {shape().kv_heads, length, head_dim}, {head_stride, head_dim, 1},
                            dtype_of(storage_));
  }
  return torch::from_blob(first, {shape().kv_heads, kernels::key_blocks(length), head_dim, kernels::kKeyBlock},
                          {head_stride, head_dim * kernels::kKeyBlock, kernels::kKeyBlock, 1}, dtype_of(storage_));
}

void FullCache::store(int64_t layer, const Rows& keys, const Rows& values, int64_t first, int64_t count) {
  const int64_t kv_heads = shape().kv_heads;
  void* const* heads = heads_.data() + layer * 2 * kv_heads;
  const kernels::CacheStoreSequence key_rows{
      .rows = keys.data, .row_stride = keys.stride, .count = count, .first_position = first, .heads = heads};
  const kernels::CacheStoreSequence value_rows{.rows = values.data,
                                               .row_stride = values.stride,
                                               .count = count,
                                               .first_position = first,
                                               .heads = heads + kv_heads};
  kernels::cache_store({.storage = storage_,
                        .kv_heads = kv_heads,
                        .head_dim = shape().head_dim,
                        .value_stride = shape().head_dim,
                        .keys = {&key_rows, 1},
                        .values = {&value_rows, 1}},
                       tensor::kernel_pool());
}

void FullCache::attend(int64_t layer, const Rows& queries, int64_t count, const Scores& scores, float* out,
                       int64_t out_stride) const {
  const Attending alone{.cache = this, .queries = queries, .count = count, .out = out, .out_stride = out_stride};
  kind().attend(layer, {&alone, 1}, scores);
}

int64_t FullCache::bytes() const {
  int64_t total = 0;
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    for (const Part part : {Part::keys, Part::values}) {
      total += shape().kv_heads * pages_of(part_bytes(part, length(layer)));
    }
  }
  return total;
}

void FullCache::forget(int64_t length) {
  for (size_t index = 0; index < heads_.size(); ++index) {
    const auto kept = static_cast<size_t>(part_bytes(part_of(index), length));
    memory_.release(index * static_cast<size_t>(head_bytes_) + kept, static_cast<size_t>(head_bytes_) - kept);
  }
}

std::unique_ptr<KvCache> FullCache::copy_prefix(int64_t length, int64_t capacity) const {
  base::check(0 <= length && (heads_.empty() || length <= this->length(shape().layers - 1)) && length <= capacity,
              "[copy_prefix] expected a length of at most {} and {}, got {}", this->length(shape().layers - 1),
              capacity, length);
  CacheShape shape = this->shape();
  shape.capacity = capacity;
  auto copy = std::make_unique<FullCache>(shared_kind(), shape, storage_);
  for (size_t index = 0; index < heads_.size(); ++index) {
    std::memcpy(copy->heads_[index], heads_[index], static_cast<size_t>(part_bytes(part_of(index), length)));
  }
  copy->set_length(length);
  return copy;
}

tensor::NamedTensors FullCache::to_tensors() const {
  tensor::NamedTensors tensors;
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    const int64_t held = length(layer);
    tensors[fmt::format("layers.{}.keys", layer)] = part(layer, Part::keys, held)
                                                        .index_select(3, key_places(storage_))
                                                        .transpose(2, 3)
                                                        .flatten(1, 2)
                                                        .slice(1, 0, held);
    tensors[fmt::format("layers.{}.values", layer)] = part(layer, Part::values, held);
  }
  return tensors;
}

void FullCache::from_tensors(const tensor::SafetensorsFile& file, const std::string& prefix, const std::string& where) {
  int64_t held = -1;
  std::vector<torch::Tensor> parts;
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    for (const char* part : {"keys", "values"}) {
      const std::string name = fmt::format("{}layers.{}.{}", prefix, layer, part);
      const torch::Tensor rows = file.tensor(name);
      if (held < 0 && rows.dim() == 3) held = rows.size(1);
      base::check(rows.scalar_type() == dtype_of(storage_) &&
                      rows.sizes() == torch::IntArrayRef({shape().kv_heads, held, shape().head_dim}) &&
                      held <= shape().capacity,
                  "{}: tensor '{}': expected {} [{}, at most {}, {}], got {} [{}]", where, name,
                  base::name_of(storage_), shape().kv_heads, shape().capacity, shape().head_dim,
                  torch::toString(rows.scalar_type()), fmt::join(rows.sizes(), ", "));
      parts.push_back(rows.contiguous());
    }
  }
  if (held < 0) return;
  truncate(0);
  const int64_t padding = kernels::key_blocks(held) * kernels::kKeyBlock - held;
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    const auto at = static_cast<size_t>(layer) * 2;
    const torch::Tensor blocks = torch::constant_pad_nd(parts[at], {0, 0, 0, padding})
                                     .unflatten(1, {kernels::key_blocks(held), kernels::kKeyBlock})
                                     .transpose(2, 3);
    part(layer, Part::keys, held).index_copy_(3, key_places(storage_), blocks);
    part(layer, Part::values, held).copy_(parts[at + 1]);
  }
  set_length(held);
}

std::string FullKind::policy() const {
  return storage_ == Storage::f16 ? "full" : fmt::format("full:{}", base::name_of(storage_));
}

std::unique_ptr<KvCache> FullKind::make(const CacheShape& shape) const {
  return std::make_unique<FullCache>(shared_from_this(), shape, storage_);
}

int64_t FullKind::bytes(const CacheShape& shape) const {
  const int64_t values = pages_of(shape.capacity * shape.head_dim * kernels::bytes_per_element(storage_));
  return shape.layers * shape.kv_heads * (head_bytes(shape, storage_) + values);
}

void FullKind::attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores) const {
  // One kernel call for sequences whose caches and rows are shaped alike, which those of a step are.
  const auto alike = [](const Attending& a, const Attending& b) {
    return a.cache->shape().same_heads(b.cache->shape()) && a.queries.stride == b.queries.stride &&
           a.out_stride == b.out_stride;
  };
  std::vector<bool> done(sequences.size(), false);
  for (size_t first = 0; first < sequences.size(); ++first) {
    if (done[first]) continue;
    std::vector<kernels::CacheAttentionSequence> group;
    for (size_t i = first; i < sequences.size(); ++i) {
      if (done[i] || !alike(sequences[first], sequences[i])) continue;
      const Attending& each = sequences[i];
      const auto& cache = static_cast<const FullCache&>(*each.cache);
      done[i] = true;
      group.push_back({.q = each.queries.data,
                       .out = each.out,
                       .count = each.count,
                       .first_position = cache.length(layer) - each.count,
                       .keys = cache.keys(layer),
                       .values = cache.values(layer)});
    }
    const CacheShape& shape = sequences[first].cache->shape();
    kernels::cache_attention({.storage = storage_,
                              .heads = shape.heads,
                              .kv_heads = shape.kv_heads,
                              .head_dim = shape.head_dim,
                              .value_stride = shape.head_dim,
                              .q_stride = sequences[first].queries.stride,
                              .out_stride = sequences[first].out_stride,
                              .window = scores.window,
                              .scale = scores.scale,
                              .sequences = group},
                             tensor::kernel_pool());
  }
}

std::shared_ptr<const CacheKind> make_full_kind(const CachePolicy& policy, const CachedModel&) {
  // "full" is "full:f16": bf16 takes the same bytes and is an eighth as fine.
  const std::string storage = policy.words.empty() ? "f16" : policy.words[0];
  const bool known = storage == "bf16" || storage == "f16" || storage == "f32";
  base::check(known && policy.words.size() <= 1 && policy.values.empty(),
              "cache policy '{}': expected full, full:f16, full:bf16 or full:f32", policy.text());
  if (storage == "f32") return std::make_shared<FullKind>(Storage::f32);
  return std::make_shared<FullKind>(storage == "bf16" ? Storage::bf16 : Storage::f16);
}

}  // namespace incontext::cache
