#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace incontext::base {

/// A stream of random numbers named by (seed, purpose, index). Two streams with different names are independent,
/// and a stream is the same with every machine and compiler: the numbers come from Philox4x32-10
/// (Salmon et al., 2011), and the distributions below are ours, not the standard library's. Only the last bit of
/// normal() may differ between C libraries, which round log, sin and cos differently.
class RandomStream {
 public:
  RandomStream(uint64_t seed, std::string_view purpose, uint64_t index);

  uint32_t next_u32();
  uint64_t next_u64();

  /// Uniform in [0, 1), 53 bits.
  double uniform();
  double uniform(double low, double high) { return low + (high - low) * uniform(); }

  /// Standard normal, by the Box-Muller transform in double precision.
  double normal();

  /// Uniform in 0 … bound-1, without bias. `bound` must be positive.
  uint64_t below(uint64_t bound);

  /// Standard normals in single precision, several times faster than normal(): the bulk of all data. Begins at
  /// a fresh block of the stream, so that element i depends only on the state before the call and on i: filling a
  /// shorter span gives the beginning of a longer one.
  void fill_normal(std::span<float> out);

  /// A uniformly random order of 0 … out.size()-1.
  void permutation(std::span<int64_t> out);

 private:
  void refill();

  std::array<uint32_t, 2> key_{};
  std::array<uint32_t, 4> counter_{};
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
  double spare_normal_ = 0;
  bool has_spare_ = false;
};

/// One Philox4x32-10 block; exposed so that the published test vectors can be checked.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

}  // namespace incontext::base
