#pragma once

#include <filesystem>

#include "cache/kind.h"
#include "cache/sequence_state.h"

namespace incontext::cache {

/// Writes all that a model remembers of a sequence: its tokens, the KV cache, the states of other layers. The file
/// appears whole or not at all. `fingerprint` names the model.
void save_state(const SequenceState& state, const std::filesystem::path& path, const std::string& fingerprint);

/// Reads it back, with room for `capacity` tokens, at least those of the file (0: just those). A file that is damaged,
/// or was written by another model or with another cache policy, is an Error that tells which.
std::unique_ptr<SequenceState> load_state(const std::filesystem::path& path, const std::string& fingerprint,
                                          const CacheKind& kind, CacheShape shape);

}  // namespace incontext::cache
