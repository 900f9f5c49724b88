#include "base/random.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "base/digest.h"
#include "base/error.h"

namespace incontext::base {
namespace {

// The finalizer of splitmix64, so that close names give unrelated keys.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = 0xD2511F53ULL * counter[0];
    const uint64_t product1 = 0xCD9E8D57ULL * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
  return counter;
}

RandomStream::RandomStream(uint64_t seed, std::string_view purpose, uint64_t index) {
  const uint64_t key = mix(seed ^ mix(fnv1a(purpose)));
  key_ = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
  // The upper half of the counter holds the index, the lower half counts blocks: streams never overlap.
  counter_ = {0, 0, static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32)};
}

void RandomStream::refill() {
  block_ = philox4x32(counter_, key_);
  if (++counter_[0] == 0) ++counter_[1];
  used_ = 0;
}

uint32_t RandomStream::next_u32() {
  if (used_ == 4) refill();
  return block_[static_cast<size_t>(used_++)];
}

uint64_t RandomStream::next_u64() {
  const uint64_t low = next_u32();
  return low | static_cast<uint64_t>(next_u32()) << 32;
}

double RandomStream::uniform() { return static_cast<double>(next_u64() >> 11) * 0x1.0p-53; }

double RandomStream::normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_normal_;
  }
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  const double angle = 2.0 * std::numbers::pi * uniform();
  spare_normal_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

uint64_t RandomStream::below(uint64_t bound) {
  INCONTEXT_ASSERT(bound > 0);
  const uint64_t threshold = (0 - bound) % bound;  // reject the incomplete last interval
  while (true) {
    const uint64_t draw = next_u64();
    if (draw >= threshold) return draw % bound;
  }
}

void RandomStream::permutation(std::span<int64_t> out) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<int64_t>(i);
  for (size_t i = out.size(); i > 1; --i) std::swap(out[i - 1], out[below(i)]);
}

}  // namespace incontext::base
