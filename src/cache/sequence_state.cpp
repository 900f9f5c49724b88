#include "cache/sequence_state.h"

#include <algorithm>

#include "base/error.h"

namespace incontext::cache {

int64_t LayerState::bytes() const {
  int64_t sum = 0;
  for (const auto& [name, tensor] : tensors) sum += static_cast<int64_t>(tensor.nbytes());
  return sum;
}

LayerState LayerState::copy() const {
  LayerState result;
  for (const auto& [name, tensor] : tensors) result.tensors[name] = tensor.clone();
  return result;
}

int64_t SequenceState::bytes() const {
  int64_t sum = cache ? cache->bytes() : 0;
  for (const LayerState& layer : layers) sum += layer.bytes();
  return sum;
}

bool SequenceState::can_truncate() const {
  return (!cache || cache->can_truncate()) &&
         std::all_of(layers.begin(), layers.end(), [](const LayerState& layer) { return layer.empty(); });
}

std::unique_ptr<SequenceState> SequenceState::fork(int64_t length, int64_t capacity) const {
  base::check(0 <= length && length <= position() && (length == position() || can_truncate()),
              "[fork] expected {} {} tokens, got {}", can_truncate() ? "at most" : "exactly", position(), length);
  auto copy = std::make_unique<SequenceState>();
  copy->tokens.assign(tokens.begin(), tokens.begin() + length);
  if (cache) copy->cache = cache->copy_prefix(length, capacity);
  for (const LayerState& layer : layers) copy->layers.push_back(layer.copy());
  copy->rope_epoch = rope_epoch;
  return copy;
}

}  // namespace incontext::cache
