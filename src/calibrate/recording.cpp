#include "calibrate/recording.h"

#include <algorithm>

#include "base/error.h"
#include "cache/kinds/full.h"

namespace incontext::calibrate {
namespace {

/// Sums of one layer while texts are read.
struct LayerSums {
  torch::Tensor keys, values;  // f16 [tokens, kv_heads, head_dim], filled from the front
  int64_t filled = 0;
  std::vector<double> query_squares;
  int64_t queries = 0;
};

/// A full cache that notes what passes through it.
class RecordingCache : public cache::KvCache {
 public:
  RecordingCache(std::shared_ptr<const cache::CacheKind> kind, const cache::CacheShape& shape,
                 std::vector<LayerSums>& sums)
      : KvCache(std::move(kind), shape),
        inner_(cache::open_kind(cache::parse_policy("full:f32"), {.shape = shape})->make(shape)),
        sums_(sums) {}

  void attend(int64_t layer, const cache::Rows& queries, int64_t count, const cache::Scores& scores, float* out,
              int64_t out_stride) const override {
    LayerSums& sums = sums_[static_cast<size_t>(layer)];
    for (int64_t i = 0; i < count; ++i) {
      const float* row = queries.data + i * queries.stride;
      for (int64_t at = 0; at < shape().heads * shape().head_dim; ++at) {
        sums.query_squares[static_cast<size_t>(at % shape().head_dim)] += static_cast<double>(row[at]) * row[at];
      }
    }
    sums.queries += count * shape().heads;
    inner_->attend(layer, queries, count, scores, out, out_stride);
  }
  int64_t bytes() const override { return inner_->bytes(); }
  std::unique_ptr<KvCache> copy_prefix(int64_t, int64_t) const override { base::fail("[recording] not copied"); }
  tensor::NamedTensors to_tensors() const override { base::fail("[recording] not saved"); }
  void from_tensors(const tensor::SafetensorsFile&, const std::string&, const std::string&) override {
    base::fail("[recording] not loaded");
  }

 private:
  void store(int64_t layer, const cache::Rows& keys, const cache::Rows& values, int64_t, int64_t count) override {
    inner_->append(layer, keys, values, count);
    LayerSums& sums = sums_[static_cast<size_t>(layer)];
    const auto keep = [&](const cache::Rows& rows, torch::Tensor& to) {
      to.narrow(0, sums.filled, count)
          .copy_(torch::from_blob(const_cast<float*>(rows.data), {count, shape().kv_heads, shape().head_dim},
                                  {rows.stride, shape().head_dim, 1}));
    };
    keep(keys, sums.keys);
    keep(values, sums.values);
    sums.filled += count;
  }
  void forget(int64_t length) override { inner_->truncate(length); }

  std::unique_ptr<KvCache> inner_;
  std::vector<LayerSums>& sums_;
};

class RecordingKind : public cache::CacheKind, public std::enable_shared_from_this<RecordingKind> {
 public:
  explicit RecordingKind(std::vector<LayerSums>& sums) : sums_(sums) {}

  std::string policy() const override { return "recording"; }
  std::unique_ptr<cache::KvCache> make(const cache::CacheShape& shape) const override {
    return std::make_unique<RecordingCache>(shared_from_this(), shape, sums_);
  }
  int64_t bytes(const cache::CacheShape& shape) const override {
    return cache::FullKind(kernels::Storage::f32).bytes(shape);
  }

 private:
  std::vector<LayerSums>& sums_;
};

}  // namespace

Recording record(const models::LanguageModel& model, std::span<const int64_t> tokens, int64_t context,
                 const std::function<bool(int64_t tokens)>& progress) {
  base::check(context >= 1 && context <= model.config().context,
              "[record] expected windows of 1 to {} tokens, the model's context, got {}", model.config().context,
              context);
  constexpr int64_t kPart = 512;  // tokens of a step
  const torch::NoGradGuard no_gradient;
  const auto total = static_cast<int64_t>(tokens.size());
  const cache::CacheShape shape = model.cache_shape(0);
  std::vector<LayerSums> sums(static_cast<size_t>(shape.layers));
  for (LayerSums& each : sums) {
    each.keys = torch::empty({total, shape.kv_heads, shape.head_dim}, torch::kFloat16);
    each.values = torch::empty_like(each.keys);
    each.query_squares.assign(static_cast<size_t>(shape.head_dim), 0);
  }
  const auto kind = std::make_shared<RecordingKind>(sums);
  bool on = true;
  for (int64_t first = 0; first < total && on; first += context) {
    const int64_t count = std::min(context, total - first);
    const auto state = model.decoder().new_sequence(*kind, count);
    for (int64_t done = 0; done < count && on; done += kPart) {
      const int64_t part = std::min(kPart, count - done);
      models::Step step;
      step.sequences.push_back({state.get(), part});
      const auto begin = tokens.begin() + first + done;
      model.logits(std::vector<int64_t>(begin, begin + part), step, {});
      if (progress) on = progress(first + done + part);
    }
  }
  Recording recording;
  for (LayerSums& each : sums) {
    recording.tokens = each.filled;
    torch::Tensor squares = torch::tensor(each.query_squares, torch::kFloat64);
    if (each.queries > 0) squares = squares / static_cast<double>(each.queries);
    recording.layers.push_back({.keys = each.keys.narrow(0, 0, each.filled),
                                .values = each.values.narrow(0, 0, each.filled),
                                .query_squares = squares});
  }
  return recording;
}

}  // namespace incontext::calibrate
