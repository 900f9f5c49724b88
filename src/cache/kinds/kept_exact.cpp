#include "cache/kinds/kept_exact.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace incontext::cache {

bool KeptExact::layer(int64_t index) const {
  return std::binary_search(exact_layers.begin(), exact_layers.end(), index);
}

std::vector<std::string> KeptExact::options() const { return options({}); }

std::vector<std::string> KeptExact::options(const KeptExact& defaults) const {
  std::vector<std::string> options;
  if (!exact_layers.empty()) options.push_back(fmt::format("exact_layers={}", fmt::join(exact_layers, "/")));
  if (sinks != defaults.sinks) options.push_back(fmt::format("sinks={}", sinks));
  if (tail != defaults.tail) options.push_back(fmt::format("tail={}", tail));
  return options;
}

KeptExact read_kept_exact(PolicyOptions& options, const CachedModel& model, const KeptExact& defaults,
                          int64_t least_tail) {
  constexpr int64_t kMost = 1 << 20;
  KeptExact kept;
  kept.sinks = options.integer("sinks", defaults.sinks, 0, kMost);
  kept.tail = options.integer("tail", defaults.tail, least_tail, kMost);
  kept.exact_layers = defaults.exact_layers;
  const std::string text = options.text("exact_layers");
  if (text.empty()) return kept;
  kept.exact_layers.clear();
  const int64_t layers = model.shape.layers;
  for (const std::string& each : base::split(text, '/')) {
    int64_t layer = 0;
    const auto [end, error] = std::from_chars(each.data(), each.data() + each.size(), layer);
    if (error != std::errc() || end != each.data() + each.size() || layer < -layers || layer >= layers) {
      options.fail(fmt::format("exact_layers: expected layers from {} to {}, such as 0/1/-1, got '{}'", -layers,
                               layers - 1, text));
    }
    kept.exact_layers.push_back(layer < 0 ? layer + layers : layer);
  }
  std::sort(kept.exact_layers.begin(), kept.exact_layers.end());
  kept.exact_layers.erase(std::unique(kept.exact_layers.begin(), kept.exact_layers.end()), kept.exact_layers.end());
  return kept;
}

}  // namespace incontext::cache
