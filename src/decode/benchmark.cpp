#include "decode/benchmark.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/random.h"
#include "base/statistics.h"
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

int64_t token_at(const models::LanguageModel& model, int64_t index) {
  return index * 7919 % model.config().options.tokens.vocabulary;
}

std::unique_ptr<cache::SequenceState> new_sequence(const models::LanguageModel& model, const cache::CachePolicy& policy,
                                                   int64_t capacity) {
  const auto kind = cache::open_kind(policy, model.cached_model());
  std::unique_ptr<cache::SequenceState> state = model.decoder().new_sequence(*kind, capacity);
  state->rope_epoch = model.rope_epoch(capacity);
  return state;
}

// A sequence that has seen a prompt of `depth` tokens, with keys and values of noise, compressed. The last queries of
// the prompt are asked too: a kind may choose by them what it keeps.
std::unique_ptr<cache::SequenceState> filled_sequence(const models::LanguageModel& model,
                                                      const cache::CachePolicy& policy, int64_t depth, int64_t room) {
  const cache::CacheShape shape = model.cache_shape(depth + room);
  std::unique_ptr<cache::SequenceState> filled = new_sequence(model, policy, depth + room);
  cache::SequenceState& state = *filled;
  constexpr int64_t kRows = 256, kAsked = 64;
  const int64_t width = shape.kv_heads * shape.head_dim, query_width = shape.heads * shape.head_dim;
  std::vector<float> rows(static_cast<size_t>(kRows * width)), queries(static_cast<size_t>(kAsked * query_width)),
      out(queries.size());
  base::RandomStream stream(0, "benchmark cache", 0);
  stream.fill_normal(rows);
  stream.fill_normal(queries);
  const cache::Scores scores{.scale = 1 / std::sqrt(static_cast<float>(shape.head_dim))};
  const int64_t asked = std::min(kAsked, depth);
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const cache::Rows same{rows.data(), width};
    for (int64_t first = 0; first < depth - asked; first += kRows) {
      const int64_t count = std::min(kRows, depth - asked - first);
      state.cache->append(layer, same, same, count);
    }
    if (asked == 0) continue;
    state.cache->append(layer, same, same, asked);
    state.cache->attend(layer, {queries.data(), query_width}, asked, scores, out.data(), query_width);
  }
  for (int64_t index = 0; index < depth; ++index) state.tokens.push_back(token_at(model, index));
  if (depth > 0) state.cache->end_of_prompt();
  return filled;
}

// Which of the policies is the full cache in its usual form; their number where none is.
size_t full_of(const models::LanguageModel& model, std::span<const cache::CachePolicy> policies) {
  const std::string full = cache::open_kind(cache::parse_policy("full"), model.cached_model())->policy();
  const auto found = std::find_if(policies.begin(), policies.end(), [&](const cache::CachePolicy& policy) {
    return cache::open_kind(policy, model.cached_model())->policy() == full;
  });
  return static_cast<size_t>(found - policies.begin());
}

// The median of how much longer the full cache took, in rounds that all policies share: seconds [policies][rounds].
std::optional<double> ratio_to_full(const std::vector<std::vector<double>>& seconds, size_t full, size_t policy) {
  if (full == seconds.size()) return std::nullopt;
  std::vector<double> ratios;
  for (size_t round = 0; round < seconds[policy].size(); ++round) {
    ratios.push_back(seconds[full][round] / seconds[policy][round]);
  }
  return base::median(std::move(ratios));
}

double product_rate(torch::ScalarType type, int64_t size, int repeats) {
  const Tensor a = torch::rand({size, size}).to(type);
  const Tensor b = torch::rand({size, size}).to(type);
  std::vector<double> seconds;
  seconds.reserve(static_cast<size_t>(repeats));
  for (int repeat = 0; repeat < repeats; ++repeat) seconds.push_back(seconds_of([&] { torch::mm(a, b); }));
  return 2 * std::pow(static_cast<double>(size), 3) / base::median(seconds);
}

}  // namespace

std::vector<DecodeSpeed> measure_decode(const models::LanguageModel& model,
                                        std::span<const cache::CachePolicy> policies, int64_t depth, int64_t tokens) {
  constexpr int64_t kWarmUp = 2;
  std::vector<std::unique_ptr<cache::SequenceState>> states;
  std::vector<int64_t> cache_bytes;
  for (const cache::CachePolicy& policy : policies) {
    states.push_back(filled_sequence(model, policy, depth, tokens + kWarmUp));
    cache_bytes.push_back(states.back()->bytes());
  }
  constexpr int64_t kBytesRead = int64_t{256} << 20U;
  kernels::ReadBandwidth memory(tensor::kernel_pool(), kBytesRead);
  std::vector<std::vector<double>> seconds(policies.size());
  for (int64_t index = 0; index < tokens + kWarmUp; ++index) {
    for (size_t i = 0; i < states.size(); ++i) {
      models::Step step;
      step.sequences = {{states[i].get(), 1}};
      const double taken = seconds_of([&] { model.logits({token_at(model, index)}, step, {0}); });
      if (index >= kWarmUp) seconds[i].push_back(taken);
    }
    if (index >= kWarmUp) memory.sample();
  }
  const size_t full = full_of(model, policies);
  std::vector<DecodeSpeed> speeds;
  for (size_t i = 0; i < states.size(); ++i) {
    const int64_t fixed = states[i]->cache->kind().fixed_bytes();
    speeds.push_back({.depth = depth,
                      .tokens_per_second = 1 / base::median(seconds[i]),
                      .cache_bytes = cache_bytes[i],
                      .fixed_bytes = fixed,
                      .bytes_per_token = model.bytes_per_token() + cache_bytes[i] + fixed,
                      .read_bandwidth = memory.median(),
                      .ratio_to_full = ratio_to_full(seconds, full, i)});
  }
  return speeds;
}

std::vector<PrefillSpeed> measure_prefill(const models::LanguageModel& model,
                                          std::span<const cache::CachePolicy> policies, int64_t tokens,
                                          int64_t repeats) {
  constexpr int64_t kPart = 512;
  const models::DecoderOptions& options = model.config().options;
  std::vector<std::vector<double>> seconds(policies.size()), compress_seconds(policies.size());
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
    for (size_t i = 0; i < policies.size(); ++i) {
      const std::unique_ptr<cache::SequenceState> state = new_sequence(model, policies[i], tokens);
      const double read = seconds_of([&] {
        for (int64_t first = 0; first < tokens; first += kPart) {
          const int64_t count = std::min(kPart, tokens - first);
          std::vector<int64_t> part;
          for (int64_t at = 0; at < count; ++at) part.push_back(token_at(model, first + at));
          models::Step step;
          step.sequences = {{state.get(), count}};
          model.logits(part, step, {count - 1});
        }
      });
      compress_seconds[i].push_back(seconds_of([&] { state->cache->end_of_prompt(); }));
      seconds[i].push_back(read + compress_seconds[i].back());
    }
  }
  double weights = 0;
  for (const models::NamedTensor& parameter : model.decoder().parameters()) {
    const bool in_layer = parameter.name.starts_with("layers.") && parameter.tensor.dim() == 2;
    if (in_layer) weights += static_cast<double>(parameter.tensor.numel());
  }
  const auto count = static_cast<double>(tokens);
  const double scores = 2 * count * count * static_cast<double>(options.layers * options.attention.heads) *
                        static_cast<double>(options.resolved_head_dim());  // causal: half of 4
  const size_t full = full_of(model, policies);
  std::vector<PrefillSpeed> speeds;
  for (size_t i = 0; i < policies.size(); ++i) {
    speeds.push_back({.tokens = tokens,
                      .seconds = base::median(seconds[i]),
                      .compress_seconds = base::median(compress_seconds[i]),
                      .flops = 2 * weights * count + scores,
                      .ratio_to_full = ratio_to_full(seconds, full, i)});
  }
  return speeds;
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
