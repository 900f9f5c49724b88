#include "cache/kinds/evicting.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "tensor/device.h"

namespace incontext::cache {
namespace {

/// The positions that one KV head keeps, ascending.
void choose_kept(std::span<const float> scores, const KeptExact& kept, int64_t count, int64_t* out) {
  const auto size = static_cast<int64_t>(scores.size());
  const int64_t first = std::min(kept.sinks, count), last = std::max(first, size - std::min(kept.tail, count - first));
  std::vector<int64_t> order(static_cast<size_t>(last - first));
  std::iota(order.begin(), order.end(), first);
  const int64_t chosen = count - first - (size - last);
  std::nth_element(order.begin(), order.begin() + chosen, order.end(), [&](int64_t a, int64_t b) {
    const float score_a = scores[static_cast<size_t>(a)], score_b = scores[static_cast<size_t>(b)];
    return score_a != score_b ? score_a > score_b : a < b;
  });
  order.resize(static_cast<size_t>(chosen));
  std::sort(order.begin(), order.end());
  std::iota(out, out + first, 0);
  std::copy(order.begin(), order.end(), out + first);
  std::iota(out + first + chosen, out + count, last);
}

}  // namespace

std::vector<std::string> EvictingBudget::options() const {
  if (tokens > 0) return {fmt::format("budget={}", tokens)};
  if (share != EvictingBudget().share) return {fmt::format("keep={}", share)};
  return {};
}

EvictingBudget read_budget(PolicyOptions& options) {
  EvictingBudget budget;
  constexpr int64_t kMost = 1 << 20;
  budget.tokens = options.integer("budget", 0, 1, kMost);
  budget.share = options.number("keep", budget.share, 0, 1);
  if (options.given("budget") && options.given("keep")) options.fail("expected budget or keep, got both");
  return budget;
}

EvictingKind::EvictingKind(std::string policy, KeptExact kept, const EvictingBudget& budget)
    : policy_(std::move(policy)),
      kept_(std::move(kept)),
      budget_(budget),
      exact_kind_(std::make_shared<FullKind>(kernels::Storage::f16)) {}

std::unique_ptr<KvCache> EvictingKind::make(const CacheShape& shape) const {
  return std::make_unique<EvictingCache>(shared_from_this(), shape);
}

int64_t EvictingKind::kept_tokens(int64_t prompt) const {
  const int64_t wanted =
      budget_.tokens > 0 ? budget_.tokens : static_cast<int64_t>(budget_.share * static_cast<double>(prompt));
  return std::min(prompt, std::max(wanted, kept_.sinks + kept_.tail));
}

int64_t EvictingKind::queries_bytes(const CacheShape& shape) const {
  return shape.layers * observed() * shape.heads * shape.head_dim * static_cast<int64_t>(sizeof(float));
}

int64_t EvictingKind::bytes(const CacheShape& shape) const {
  // Of a prompt so short that nothing is forgotten.
  return exact_kind_->bytes(shape) + queries_bytes(shape);
}

int64_t EvictingKind::bytes_after(const CacheShape& shape, int64_t prompt) const {
  const int64_t kept = kept_tokens(prompt);
  if (kept == prompt) return bytes(shape);
  int64_t total = 0;
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const int64_t forgotten = kept_.layer(layer) ? 0 : prompt - kept;
    total += full_layer_bytes(shape, kernels::Storage::f16, std::max<int64_t>(0, shape.capacity - forgotten));
  }
  return total;
}

int64_t EvictingKind::reading_bytes(const CacheShape& shape, int64_t prompt) const {
  CacheShape read = shape;
  read.capacity = std::min(prompt, shape.capacity);
  return std::max(bytes(read), bytes_after(shape, prompt));
}

void EvictingKind::attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores) const {
  base::check(scores.window == 0, "a cache of '{}' does not serve layers with sliding windows", policy());
  std::vector<FullAttending> parts;
  for (const Attending& each : sequences) {
    const auto& cache = static_cast<const EvictingCache&>(*each.cache);
    cache.observe(layer, each.queries, each.count, scores.scale);
    parts.push_back({.cache = &cache.exact(),
                     .layer = layer,
                     .queries = each.queries,
                     .count = each.count,
                     .first = cache.exact().length(layer) - each.count,
                     .out = each.out,
                     .out_stride = each.out_stride});
  }
  attend_full(parts, scores.scale);
}

EvictingCache::EvictingCache(std::shared_ptr<const EvictingKind> kind, const CacheShape& shape)
    : KvCache(kind, shape),
      exact_(kind->exact_kind(), shape, kernels::Storage::f16),
      queries_(static_cast<size_t>(shape.layers)) {}

void EvictingCache::attend(int64_t layer, const Rows& queries, int64_t count, const Scores& scores, float* out,
                           int64_t out_stride) const {
  const Attending alone{.cache = this, .queries = queries, .count = count, .out = out, .out_stride = out_stride};
  kind().attend(layer, {&alone, 1}, scores);
}

void EvictingCache::observe(int64_t layer, const Rows& queries, int64_t count, float scale) const {
  const int64_t observed = evicting_kind().observed(), width = shape().heads * shape().head_dim;
  if (evicted_ || observed == 0) return;
  scale_ = scale;
  std::vector<float>& kept = queries_[static_cast<size_t>(layer)];
  kept.resize(static_cast<size_t>(observed * width));
  for (int64_t i = std::max<int64_t>(0, count - observed); i < count; ++i) {
    const int64_t position = length(layer) - count + i;
    std::copy_n(queries.data + i * queries.stride, width, kept.data() + position % observed * width);
  }
}

const float* EvictingCache::query(int64_t layer, int64_t position) const {
  const int64_t observed = evicting_kind().observed();
  return queries_[static_cast<size_t>(layer)].data() + position % observed * shape().heads * shape().head_dim;
}

void EvictingCache::store(int64_t layer, const Rows& keys, const Rows& values, int64_t, int64_t count) {
  exact_.append(layer, keys, values, count);
}

void EvictingCache::end_of_prompt() {
  const int64_t count = evicting_kind().kept_tokens(length()), prompt = length();
  if (evicted_ || count == prompt) return;
  std::vector<int64_t> kept(static_cast<size_t>(shape().kv_heads * count));
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    if (evicting_kind().kept().layer(layer)) continue;
    tensor::kernel_pool().run(shape().kv_heads, [&](int64_t head, int) {
      std::vector<float> scores(static_cast<size_t>(prompt));
      evicting_kind().score(*this, layer, head, scores);
      choose_kept(scores, evicting_kind().kept(), count, kept.data() + head * count);
    });
    exact_.keep(layer, kept, count);
  }
  evicted_ = true;
  forget_queries();
}

void EvictingCache::forget_queries() {
  for (std::vector<float>& each : queries_) std::vector<float>().swap(each);
}

void EvictingCache::forget(int64_t length) {
  exact_.truncate(length);
  evicted_ = false;
  forget_queries();
}

int64_t EvictingCache::bytes() const {
  int64_t total = exact_.bytes();
  for (const std::vector<float>& each : queries_) total += static_cast<int64_t>(each.capacity() * sizeof(float));
  return total;
}

std::unique_ptr<KvCache> EvictingCache::copy_prefix(int64_t length, int64_t capacity) const {
  base::check((length == 0 || length == this->length()) && length <= capacity,
              "[copy_prefix] expected a length of exactly {} and at most {}, got {}", this->length(), capacity, length);
  CacheShape shape = this->shape();
  shape.capacity = capacity;
  auto copy = std::make_unique<EvictingCache>(std::static_pointer_cast<const EvictingKind>(shared_kind()), shape);
  if (length == 0) return copy;
  copy->exact_.take(exact_, 0, length);
  copy->evicted_ = evicted_;
  copy->queries_ = queries_;
  copy->scale_ = scale_;
  copy->set_length(length);
  return copy;
}

tensor::NamedTensors EvictingCache::to_tensors() const {
  tensor::NamedTensors tensors;
  for (auto& [name, tensor] : exact_.to_tensors()) tensors["exact." + name] = tensor;
  tensors["length"] = torch::tensor({length(), static_cast<int64_t>(evicted_)}, torch::kInt64);
  tensors["scale"] = torch::tensor({scale_});
  if (evicted_) return tensors;
  for (size_t layer = 0; layer < queries_.size(); ++layer) {
    if (queries_[layer].empty()) continue;
    tensors[fmt::format("layers.{}.queries", layer)] = torch::tensor(queries_[layer]);
  }
  return tensors;
}

void EvictingCache::from_tensors(const tensor::SafetensorsFile& file, const std::string& prefix,
                                 const std::string& where) {
  const torch::Tensor counts = file.tensor(prefix + "length").contiguous();
  const torch::Tensor scale = file.tensor(prefix + "scale").contiguous();
  base::check(counts.scalar_type() == torch::kInt64 && counts.sizes() == torch::IntArrayRef({2}) &&
                  scale.scalar_type() == torch::kFloat32 && scale.sizes() == torch::IntArrayRef({1}) &&
                  scale.data_ptr<float>()[0] >= 0,
              "{}: tensors '{}length' and '{}scale': expected int64 [2] and float32 [1]", where, prefix, prefix);
  const int64_t length = counts.data_ptr<int64_t>()[0];
  EvictingCache read(std::static_pointer_cast<const EvictingKind>(shared_kind()), shape());
  read.evicted_ = counts.data_ptr<int64_t>()[1] != 0;
  read.scale_ = scale.data_ptr<float>()[0];
  read.exact_.from_tensors_of_lengths(file, prefix + "exact.", where);
  for (int64_t layer = 0; layer < shape().layers; ++layer) {
    const bool whole = !read.evicted_ || evicting_kind().kept().layer(layer);
    const int64_t held = read.exact_.length(layer);
    base::check(length <= shape().capacity && (whole ? held == length : held <= length),
                "{}: layer {} of a cache of {} tokens: {} are held", where, layer, length, held);
    if (read.evicted_ || length == 0 || evicting_kind().observed() == 0) continue;
    const std::string name = fmt::format("{}layers.{}.queries", prefix, layer);
    const torch::Tensor queries = file.tensor(name).contiguous();
    const int64_t size = evicting_kind().observed() * shape().heads * shape().head_dim;
    base::check(queries.scalar_type() == torch::kFloat32 && queries.sizes() == torch::IntArrayRef({size}),
                "{}: tensor '{}': expected float32 [{}]", where, name, size);
    read.queries_[static_cast<size_t>(layer)].assign(queries.data_ptr<float>(), queries.data_ptr<float>() + size);
  }
  truncate(0);
  exact_.take(read.exact_, 0, shape().capacity);
  queries_ = std::move(read.queries_);
  evicted_ = read.evicted_;
  scale_ = read.scale_;
  set_length(length);
}

}  // namespace incontext::cache
