#include "decode/benchmark.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/random.h"
#include "kernels/bandwidth.h"
#include "tensor/device.h"

namespace incontext::decode {
namespace {

using torch::Tensor;

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int64_t token_at(const models::LanguageModel& model, int64_t index) {
  return index * 7919 % model.config().options.vocabulary;
}

std::unique_ptr<cache::SequenceState> new_sequence(const models::LanguageModel& model, const cache::CachePolicy& policy,
                                                   int64_t capacity) {
  const auto kind = cache::open_kind(policy, model.cached_model());
  std::unique_ptr<cache::SequenceState> state = model.decoder().new_sequence(*kind, capacity);
  state->rope_epoch = model.rope_epoch(capacity);
  return state;
}

// A sequence that has seen `depth` tokens, with keys and values of noise.
std::unique_ptr<cache::SequenceState> filled_sequence(const models::LanguageModel& model,
                                                      const cache::CachePolicy& policy, int64_t depth, int64_t room) {
  const cache::CacheShape shape = model.cache_shape(depth + room);
  std::unique_ptr<cache::SequenceState> filled = new_sequence(model, policy, depth + room);
  cache::SequenceState& state = *filled;
  constexpr int64_t kRows = 256;
  const int64_t width = shape.kv_heads * shape.head_dim;
  std::vector<float> rows(static_cast<size_t>(kRows * width));
  base::RandomStream stream(0, "benchmark cache", 0);
  stream.fill_normal(rows);
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    for (int64_t first = 0; first < depth; first += kRows) {
      const cache::Rows same{rows.data(), width};
      state.cache->append(layer, same, same, std::min(kRows, depth - first));
    }
  }
  for (int64_t index = 0; index < depth; ++index) state.tokens.push_back(token_at(model, index));
  if (depth > 0) state.cache->end_of_prompt();
  return filled;
}

double product_rate(torch::ScalarType type, int64_t size, int repeats) {
  const Tensor a = torch::rand({size, size}).to(type);
  const Tensor b = torch::rand({size, size}).to(type);
  std::vector<double> seconds;
  seconds.reserve(static_cast<size_t>(repeats));
  for (int repeat = 0; repeat < repeats; ++repeat) seconds.push_back(seconds_of([&] { torch::mm(a, b); }));
  return 2 * std::pow(static_cast<double>(size), 3) / median(seconds);
}

}  // namespace

DecodeSpeed measure_decode(const models::LanguageModel& model, const cache::CachePolicy& policy, int64_t depth,
                           int64_t tokens) {
  constexpr int64_t kWarmUp = 2;
  const std::unique_ptr<cache::SequenceState> state = filled_sequence(model, policy, depth, tokens + kWarmUp);
  const int64_t cache_bytes = state->bytes();
  models::Step step;
  step.sequences = {{state.get(), 1}};
  constexpr int64_t kBytesRead = int64_t{256} << 20U;
  kernels::ReadBandwidth memory(tensor::kernel_pool(), kBytesRead);
  std::vector<double> seconds;
  for (int64_t index = 0; index < tokens + kWarmUp; ++index) {
    const double taken = seconds_of([&] { model.logits({token_at(model, index)}, step, {0}); });
    if (index < kWarmUp) continue;
    seconds.push_back(taken);
    memory.sample();
  }
  return {.depth = depth,
          .tokens_per_second = 1 / median(seconds),
          .bytes_per_token = model.bytes_per_token() + cache_bytes,
          .read_bandwidth = memory.median()};
}

PrefillSpeed measure_prefill(const models::LanguageModel& model, const cache::CachePolicy& policy, int64_t tokens,
                             int64_t repeats) {
  constexpr int64_t kPart = 512;
  const models::DecoderOptions& options = model.config().options;
  std::vector<double> seconds;
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
    const std::unique_ptr<cache::SequenceState> state = new_sequence(model, policy, tokens);
    seconds.push_back(seconds_of([&] {
      for (int64_t first = 0; first < tokens; first += kPart) {
        const int64_t count = std::min(kPart, tokens - first);
        std::vector<int64_t> part;
        for (int64_t i = 0; i < count; ++i) part.push_back(token_at(model, first + i));
        models::Step step;
        step.sequences = {{state.get(), count}};
        model.logits(part, step, {count - 1});
      }
    }));
  }
  double weights = 0;
  for (const models::NamedTensor& parameter : model.decoder().parameters()) {
    const bool in_layer = parameter.name.starts_with("layers.") && parameter.tensor.dim() == 2;
    if (in_layer) weights += static_cast<double>(parameter.tensor.numel());
  }
  const auto count = static_cast<double>(tokens);
  const double scores = 2 * count * count * static_cast<double>(options.layers * options.heads) *
                        static_cast<double>(options.resolved_head_dim());  // causal: half of 4
  return {.tokens = tokens, .seconds = median(seconds), .flops = 2 * weights * count + scores};
}

LibraryProduct measure_library_product(bool bf16_factors, int threads) {
  const int before = torch::get_num_threads();
  torch::set_num_threads(threads);
  LibraryProduct best{product_rate(torch::kFloat32, 1536, 7), false};
  // Without instructions for bf16 the library falls back to loops that would take minutes at the full size.
  if (bf16_factors && product_rate(torch::kBFloat16, 256, 3) > best.flops_per_second / 10) {
    const double rate = product_rate(torch::kBFloat16, 1536, 7);
    if (rate > best.flops_per_second) best = {rate, true};
  }
  torch::set_num_threads(before);
  return best;
}

}  // namespace incontext::decode
