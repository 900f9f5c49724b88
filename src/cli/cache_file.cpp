#include "cli/cache_file.h"

#include "base/error.h"
#include "cache/saved_state.h"

namespace incontext::cli {

int64_t load_cache(const GenerationFlags& flags, const decode::OpenedModel& opened, decode::Engine& engine) {
  if (flags.load_cache.empty()) return 0;
  const auto kind = cache::open_kind(cache::parse_policy(flags.cache), opened.model->cached_model());
  std::unique_ptr<cache::SequenceState> state = opened.model->load_sequence(flags.load_cache, *kind);
  const int64_t tokens = state->position();
  engine.add_prefix(std::move(state));
  return tokens;
}

void save_cache(const GenerationFlags& flags, const decode::OpenedModel& opened, const decode::Engine& engine,
                std::vector<int64_t> prompt, const std::vector<int64_t>& answer) {
  if (flags.save_cache.empty()) return;
  prompt.insert(prompt.end(), answer.begin(), answer.end());
  const cache::CachePolicy policy = cache::parse_policy(flags.cache);
  const cache::SequenceState* state = engine.find_prefix(prompt, policy);
  // The newest token is chosen, and not yet computed, where nothing came after it.
  if (state == nullptr) state = engine.find_prefix(std::span(prompt).first(prompt.size() - 1), policy);
  base::check(state != nullptr, "--save-cache: {}: the memory for caches has no room to keep {} tokens",
              flags.save_cache, prompt.size());
  cache::save_state(*state, flags.save_cache, opened.model->fingerprint());
}

}  // namespace incontext::cli
