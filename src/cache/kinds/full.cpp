#include "cache/kinds/full.h"

#include <algorithm>
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

int64_t FullCache::layer_bytes(int64_t layer) const { return full_layer_bytes(shape(), storage_, length(layer)); }

int64_t FullCache::bytes() const {
  int64_t total = 0;
  for (int64_t layer = 0; layer < shape().layers; ++layer) total += layer_bytes(layer);
  return total;
}

void FullCache::forget(int64_t) {
  for (int64_t layer = 0; layer < shape().layers; ++layer) release_behind(layer);
}

void FullCache::release_behind(int64_t layer) {
  const auto per_layer = static_cast<size_t>(2 * shape().kv_heads);
  for (size_t index = static_cast<size_t>(layer) * per_layer; index < static_cast<size_t>(layer + 1) * per_layer;
       ++index) {
    const auto kept = static_cast<size_t>(part_bytes(part_of(index), length(layer)));
    memory_.release(index * static_cast<size_t>(head_bytes_) + kept, static_cast<size_t>(head_bytes_) - kept);
  }
}

void FullCache::drop(int64_t layer, int64_t first, int64_t blocks) {
  using kernels::kKeyBlock;
  if (blocks == 0) return;
  const int64_t held = length(layer), dropped = blocks * kKeyBlock;
  base::check(0 <= first && blocks >= 0 && first + dropped <= held, "[drop] expected positions below {}, got {} to {}",
              held, first, first + dropped);
  const int64_t size = kernels::bytes_per_element(storage_);
  const int64_t block_bytes = shape().head_dim * kKeyBlock * size;
  for (int64_t head = 0; head < shape().kv_heads; ++head) {
    auto* to = static_cast<char*>(heads_[static_cast<size_t>(layer * 2 * shape().kv_heads + head)]);
    // Of the block in which the gap begins, the places before it stay.
    const int64_t block = first / kKeyBlock;
    for (int64_t d = 0; d < shape().head_dim; ++d) {
      for (int64_t place = first % kKeyBlock; place < kKeyBlock && block + blocks < kernels::key_blocks(held);
           ++place) {
        const int64_t at = (d * kKeyBlock + kernels::key_place(storage_, place)) * size;
        std::memcpy(to + block * block_bytes + at, to + (block + blocks) * block_bytes + at, static_cast<size_t>(size));
      }
    }
    const int64_t whole = kernels::key_blocks(held) - (block + blocks) - 1;
    if (whole > 0) {
      std::memmove(to + (block + 1) * block_bytes, to + (block + blocks + 1) * block_bytes,
                   static_cast<size_t>(whole * block_bytes));
    }
    auto* rows = static_cast<char*>(heads_[static_cast<size_t>((layer * 2 + 1) * shape().kv_heads + head)]);
    const int64_t row = shape().head_dim * size;
    std::memmove(rows + first * row, rows + (first + dropped) * row,
                 static_cast<size_t>((held - first - dropped) * row));
  }
  set_length(layer, held - dropped);
  release_behind(layer);
}

void FullCache::keep(int64_t layer, std::span<const int64_t> kept, int64_t count) {
  const int64_t head_dim = shape().head_dim, size = kernels::bytes_per_element(storage_);
  tensor::kernel_pool().run(shape().kv_heads, [&](int64_t head, int) {
    auto* keys = static_cast<char*>(heads_[static_cast<size_t>(layer * 2 * shape().kv_heads + head)]);
    auto* rows = static_cast<char*>(heads_[static_cast<size_t>((layer * 2 + 1) * shape().kv_heads + head)]);
    for (int64_t to = 0; to < count; ++to) {
      const int64_t from = kept[static_cast<size_t>(head * count + to)];
      INCONTEXT_ASSERT(to <= from && from < length(layer));
      for (int64_t d = 0; d < head_dim && to != from; ++d) {
        std::memcpy(keys + kernels::key_element(storage_, head_dim, to, d) * size,
                    keys + kernels::key_element(storage_, head_dim, from, d) * size, static_cast<size_t>(size));
      }
      std::memmove(rows + to * head_dim * size, rows + from * head_dim * size, static_cast<size_t>(head_dim * size));
    }
  });
  set_length(layer, count);
  release_behind(layer);
}

void FullCache::read(int64_t layer, int64_t first, int64_t count, float* keys, float* values) const {
  using kernels::kKeyBlock;
  const int64_t kv_heads = shape().kv_heads, head_dim = shape().head_dim;
  const int64_t blocks = kernels::key_blocks(first + count) - first / kKeyBlock;
  tensor::kernel_pool().run(kv_heads * blocks, [&](int64_t item, int) {
    const int64_t head = item / blocks, block = first / kKeyBlock + item % blocks;
    const int64_t begin = std::max(first, block * kKeyBlock), end = std::min(first + count, (block + 1) * kKeyBlock);
    const auto* key_rows = static_cast<const char*>(this->keys(layer)[head]);
    const auto* value_rows = static_cast<const char*>(this->values(layer)[head]);
    const int64_t size = kernels::bytes_per_element(storage_);
    float places[kKeyBlock];
    for (int64_t d = 0; d < head_dim; ++d) {
      kernels::read_row(storage_, key_rows + (block * head_dim + d) * kKeyBlock * size, kKeyBlock, places);
      for (int64_t j = begin; j < end; ++j) {
        keys[((j - first) * kv_heads + head) * head_dim + d] = places[kernels::key_place(storage_, j)];
      }
    }
    for (int64_t j = begin; j < end; ++j) {
      kernels::read_row(storage_, value_rows + j * head_dim * size, head_dim,
                        values + ((j - first) * kv_heads + head) * head_dim);
    }
  });
}

void FullCache::take(const FullCache& other, int64_t first_layer, int64_t most) {
  base::check(shape().same_heads(other.shape()) && storage_ == other.storage_,
              "[take] expected a cache of the same form");
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    const int64_t taken = std::min(most, other.length(first_layer + layer));
    base::check(taken <= shape().capacity, "[take] expected at most {} tokens, got {}", shape().capacity, taken);
    for (int64_t part = 0; part < 2 * shape().kv_heads; ++part) {
      const auto to = static_cast<size_t>(layer * 2 * shape().kv_heads + part);
      const auto from = static_cast<size_t>((first_layer + layer) * 2 * shape().kv_heads + part);
      std::memcpy(heads_[to], other.heads_[from], static_cast<size_t>(part_bytes(part_of(to), taken)));
    }
    set_length(layer, taken);
  }
}

std::unique_ptr<KvCache> FullCache::copy_prefix(int64_t length, int64_t capacity) const {
  base::check(0 <= length && (heads_.empty() || length <= this->length(shape().layers - 1)) && length <= capacity,
              "[copy_prefix] expected a length of at most {} and {}, got {}", this->length(shape().layers - 1),
              capacity, length);
  CacheShape shape = this->shape();
  shape.capacity = capacity;
  auto copy = std::make_unique<FullCache>(shared_kind(), shape, storage_);
  copy->take(*this, 0, length);
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
  take_tensors(file, prefix, where, /*one_length=*/true);
}

void FullCache::from_tensors_of_lengths(const tensor::SafetensorsFile& file, const std::string& prefix,
                                        const std::string& where) {
  take_tensors(file, prefix, where, /*one_length=*/false);
}

void FullCache::take_tensors(const tensor::SafetensorsFile& file, const std::string& prefix, const std::string& where,
                             bool one_length) {
  int64_t held = -1;
  std::vector<torch::Tensor> parts;
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    for (const char* part : {"keys", "values"}) {
      const std::string name = fmt::format("{}layers.{}.{}", prefix, layer, part);
      const torch::Tensor rows = file.tensor(name);
      const bool first = one_length ? held < 0 : part == std::string("keys");
      if (first && rows.dim() == 3) held = rows.size(1);
      base::check(rows.scalar_type() == dtype_of(storage_) &&
                      rows.sizes() == torch::IntArrayRef({shape().kv_heads, held, shape().head_dim}) &&
                      held <= shape().capacity,
                  "{}: tensor '{}': expected {} [{}, at most {}, {}], got {} [{}]", where, name,
                  base::name_of(storage_), shape().kv_heads, shape().capacity, shape().head_dim,
                  torch::toString(rows.scalar_type()), fmt::join(rows.sizes(), ", "));
      parts.push_back(rows.contiguous());
    }
  }
  truncate(0);
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    const auto at = static_cast<size_t>(layer) * 2;
    held = parts[at].size(1);
    const int64_t padding = kernels::key_blocks(held) * kernels::kKeyBlock - held;
    const torch::Tensor blocks = torch::constant_pad_nd(parts[at], {0, 0, 0, padding})
                                     .unflatten(1, {kernels::key_blocks(held), kernels::kKeyBlock})
                                     .transpose(2, 3);
    part(layer, Part::keys, held).index_copy_(3, key_places(storage_), blocks);
    part(layer, Part::values, held).copy_(parts[at + 1]);
    set_length(layer, held);
  }
}

std::string FullKind::policy() const {
  return storage_ == Storage::f16 ? "full" : fmt::format("full:{}", base::name_of(storage_));
}

std::unique_ptr<KvCache> FullKind::make(const CacheShape& shape) const {
  return std::make_unique<FullCache>(shared_from_this(), shape, storage_);
}

int64_t full_layer_bytes(const CacheShape& shape, Storage storage, int64_t positions) {
  const int64_t size = shape.head_dim * kernels::bytes_per_element(storage);
  return shape.kv_heads *
         (pages_of(kernels::key_blocks(positions) * kernels::kKeyBlock * size) + pages_of(positions * size));
}

int64_t FullKind::bytes(const CacheShape& shape) const {
  return shape.layers * full_layer_bytes(shape, storage_, shape.capacity);
}

void FullKind::attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores) const {
  std::vector<FullAttending> parts;
  for (const Attending& each : sequences) {
    parts.push_back({.cache = static_cast<const FullCache*>(each.cache),
                     .layer = layer,
                     .queries = each.queries,
                     .count = each.count,
                     .first = each.cache->length(layer) - each.count,
                     .window = scores.window,
                     .out = each.out,
                     .out_stride = each.out_stride});
  }
  attend_full(parts, scores.scale);
}

void attend_full(std::span<const FullAttending> sequences, float scale) {
  // One kernel call for sequences whose caches and rows are shaped alike, which those of a step are.
  const auto alike = [](const FullAttending& a, const FullAttending& b) {
    return a.cache->shape().same_heads(b.cache->shape()) && a.cache->storage() == b.cache->storage() &&
           a.queries.stride == b.queries.stride && a.out_stride == b.out_stride && a.window == b.window;
  };
  std::vector<bool> done(sequences.size(), false);
  for (size_t first = 0; first < sequences.size(); ++first) {
    if (done[first]) continue;
    std::vector<kernels::CacheAttentionSequence> group;
    for (size_t i = first; i < sequences.size(); ++i) {
      if (done[i] || !alike(sequences[first], sequences[i])) continue;
      const FullAttending& each = sequences[i];
      done[i] = true;
      group.push_back({.q = each.queries.data,
                       .out = each.out,
                       .count = each.count,
                       .first_position = each.first,
                       .keys = each.cache->keys(each.layer),
                       .values = each.cache->values(each.layer),
                       .log_sums = each.log_sums});
    }
    const CacheShape& shape = sequences[first].cache->shape();
    kernels::cache_attention({.storage = sequences[first].cache->storage(),
                              .heads = shape.heads,
                              .kv_heads = shape.kv_heads,
                              .head_dim = shape.head_dim,
                              .value_stride = shape.head_dim,
                              .q_stride = sequences[first].queries.stride,
                              .out_stride = sequences[first].out_stride,
                              .window = sequences[first].window,
                              .scale = scale,
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
