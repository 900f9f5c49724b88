#include "cache/kinds/snapkv.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "kernels/key_blocks.h"
#include "kernels/storage.h"

namespace incontext::cache {
namespace {

/// out[r, j] = queries[r]·key j of one KV head, `count` queries, for j < positions; rows of out lie `stride` apart,
/// whole blocks of keys.
void score_keys(const FullCache& cache, int64_t layer, int64_t kv_head, const std::vector<const float*>& queries,
                int64_t positions, int64_t stride, float* out) {
  using kernels::kKeyBlock;
  const int64_t head_dim = cache.shape().head_dim;
  const auto* keys = static_cast<const uint16_t*>(cache.keys(layer)[kv_head]);
  std::vector<float> block(static_cast<size_t>(head_dim * kKeyBlock));
  for (int64_t index = 0; index < kernels::key_blocks(positions); ++index) {
    kernels::read_row(kernels::Storage::f16, keys + index * head_dim * kKeyBlock, head_dim * kKeyBlock, block.data());
    for (size_t row = 0; row < queries.size(); ++row) {
      float* scores = out + static_cast<int64_t>(row) * stride + index * kKeyBlock;
      std::fill_n(scores, kKeyBlock, 0.0F);
      for (int64_t d = 0; d < head_dim; ++d) {
        const float q = queries[row][d];
        const float* channel = block.data() + d * kKeyBlock;
        for (int64_t j = 0; j < kKeyBlock; ++j) scores[j] += q * channel[j];
      }
    }
  }
}

/// Adds softmax(scale * scores[0 … seen)) to the first of `sums`.
void add_softmax(const float* scores, int64_t seen, float scale, std::vector<double>& sums) {
  const float top = *std::max_element(scores, scores + seen);
  std::vector<float> weights(static_cast<size_t>(seen));
  double total = 0;
  for (size_t j = 0; j < weights.size(); ++j) {
    weights[j] = std::exp(scale * (scores[j] - top));
    total += static_cast<double>(weights[j]);
  }
  for (size_t j = 0; j < sums.size(); ++j) sums[j] += static_cast<double>(weights[j]) / total;
}

/// The options of an evicting kind that reads its own ones and then these.
template <class Kind>
std::shared_ptr<const CacheKind> make_evicting(const CachePolicy& policy, const CachedModel& model,
                                               PolicyOptions& options, const KeptExact& defaults, int64_t least_tail,
                                               std::vector<std::string> text, auto... own) {
  const EvictingBudget budget = read_budget(options);
  const KeptExact kept = read_kept_exact(options, model, defaults, least_tail);
  options.finish();
  if (model.sliding_window) options.fail("a model with sliding windows cannot have it");
  for (const std::vector<std::string>& more : {budget.options(), kept.options(defaults)}) {
    text.insert(text.end(), more.begin(), more.end());
  }
  return std::make_shared<Kind>(policy_text(policy.kind, text), kept, budget, own...);
}

}  // namespace

void SnapKvKind::score(const EvictingCache& cache, int64_t layer, int64_t kv_head, std::span<float> scores) const {
  std::fill(scores.begin(), scores.end(), 0.0F);
  if (!cache.has_queries(layer)) return;
  const CacheShape& shape = cache.shape();
  const int64_t prompt = cache.length(layer), group = shape.heads / shape.kv_heads;
  // A prompt that loses anything is longer than the window.
  const int64_t before = prompt - window_;
  const int64_t stride = kernels::key_blocks(prompt) * kernels::kKeyBlock;
  std::vector<const float*> queries;
  for (int64_t position = before; position < prompt; ++position) {
    for (int64_t h = 0; h < group; ++h) {
      queries.push_back(cache.query(layer, position) + (kv_head * group + h) * shape.head_dim);
    }
  }
  std::vector<float> products(queries.size() * static_cast<size_t>(stride));
  score_keys(cache.exact(), layer, kv_head, queries, prompt, stride, products.data());
  std::vector<double> sums(static_cast<size_t>(before));
  for (size_t row = 0; row < queries.size(); ++row) {
    const int64_t seen = before + static_cast<int64_t>(row) / group + 1;
    add_softmax(products.data() + row * static_cast<size_t>(stride), seen, cache.scale(), sums);
  }
  for (int64_t j = 0; j < before; ++j) {
    // Beyond the ends there is nothing, and it counts as 0, as in the authors' code.
    double sum = 0;
    for (int64_t i = std::max<int64_t>(0, j - kernel_ / 2); i <= std::min(before - 1, j + kernel_ / 2); ++i) {
      sum += sums[static_cast<size_t>(i)];
    }
    scores[static_cast<size_t>(j)] = static_cast<float>(sum / static_cast<double>(kernel_ * window_ * group));
  }
}

void RandomKind::score(const EvictingCache& cache, int64_t layer, int64_t kv_head, std::span<float> scores) const {
  const int64_t head = layer * cache.shape().kv_heads + kv_head;
  base::RandomStream(static_cast<uint64_t>(seed_), "random cache", static_cast<uint64_t>(head)).fill_normal(scores);
}

std::shared_ptr<const CacheKind> make_snapkv_kind(const CachePolicy& policy, const CachedModel& model) {
  constexpr int64_t kWindow = 32, kKernel = 7;
  PolicyOptions options(policy);
  const int64_t window = options.integer("window", kWindow, 1, 4096);
  const int64_t kernel = options.integer("kernel", kKernel, 1, 4095);
  if (kernel % 2 == 0) options.fail(fmt::format("kernel: expected an odd number, got {}", kernel));
  std::vector<std::string> text;
  if (window != kWindow) text.push_back(fmt::format("window={}", window));
  if (kernel != kKernel) text.push_back(fmt::format("kernel={}", kernel));
  return make_evicting<SnapKvKind>(policy, model, options, {.sinks = 0, .tail = window}, window, text, window, kernel);
}

std::shared_ptr<const CacheKind> make_random_kind(const CachePolicy& policy, const CachedModel& model) {
  PolicyOptions options(policy);
  const int64_t seed = options.integer("seed", 0, 0, INT32_MAX);
  std::vector<std::string> text;
  if (seed != 0) text.push_back(fmt::format("seed={}", seed));
  return make_evicting<RandomKind>(policy, model, options, KeptExact{}, 0, text, seed);
}

}  // namespace incontext::cache
