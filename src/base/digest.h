#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace incontext::base {

inline constexpr uint64_t kFnv1aStart = 0xcbf29ce484222325;

/// FNV-1a, 64 bits (Fowler, Noll and Vo): the same in every build, unlike std::hash; it tells things apart, and keeps
/// no secret. `state` continues the digest of what came before.
inline uint64_t fnv1a(std::string_view bytes, uint64_t state = kFnv1aStart) {
  for (const char c : bytes) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return state;
}

}  // namespace incontext::base
