// RandomStream::fill_normal, written so that the compiler turns every loop into vector code. Only +, -, *, sqrt and
// integer operations occur, which IEEE 754 rounds in one way: the numbers are the same on every machine, whatever
// its mathematical library. (This file is compiled with -fno-math-errno, or
// std::sqrt would not be one instruction, and with -ffp-contract=off.)
#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "base/random.h"

namespace incontext::base {
namespace {

constexpr size_t kBlocks = 16;  // Philox blocks made together, four normals each; known to the vectoriser

using Words = std::array<uint32_t, kBlocks>;

/// Logarithm of a positive normal float: u = m 2^e with m in [sqrt(1/2), sqrt(2)), and the Taylor series of
/// 2 artanh(s), s = (m-1)/(m+1), |s| <= 0.172, whose first dropped term is below 1e-8 of the first.
inline float logarithm(float u) {
  const uint32_t shifted = std::bit_cast<uint32_t>(u) - 0x3f3504f3U;  // the bits of sqrt(1/2)
  const auto exponent = static_cast<float>(static_cast<int32_t>(shifted) >> 23);
  const float m = std::bit_cast<float>((shifted & 0x007fffffU) + 0x3f3504f3U);
  const float s = (m - 1.0F) / (m + 1.0F);
  const float z = s * s;
  const float series = 2.0F + z * (2.0F / 3 + z * (2.0F / 5 + z * (2.0F / 7 + z * (2.0F / 9))));
  return exponent * std::numbers::ln2_v<float> + s * series;
}

/// The Box-Muller transform (1958) on 24 bits of each word: |result| <= 5.9.
inline void box_muller(uint32_t word0, uint32_t word1, float& first, float& second) {
  const float u = (static_cast<float>(static_cast<int32_t>(word0 >> 8)) + 0.5F) * 0x1.0p-24F;
  const float radius = std::sqrt(std::max(-2.0F * logarithm(u), 0.0F));
  // The angle is a quarter turn times (quadrant + fraction), the fraction in [-1/2, 1/2).
  const uint32_t turn = word1 >> 8;
  const uint32_t quadrant = turn >> 22;
  const auto fraction = static_cast<float>(static_cast<int32_t>(turn & 0x3fffffU) - 0x200000) * 0x1.0p-22F;
  const float a = fraction * (std::numbers::pi_v<float> / 2);
  const float z = a * a;
  const float sine = a * (1.0F + z * (-1.0F / 6 + z * (1.0F / 120 + z * (-1.0F / 5040 + z * (1.0F / 362880)))));
  const float cosine = 1.0F + z * (-1.0F / 2 + z * (1.0F / 24 + z * (-1.0F / 720 + z * (1.0F / 40320))));
  // Turning by a quarter maps (cos, sin) to (-sin, cos); signs are flipped in the top bit.
  const bool odd = (quadrant & 1U) != 0;
  const uint32_t cosine_sign = ((quadrant + 1) & 2U) << 30;
  const uint32_t sine_sign = (quadrant & 2U) << 30;
  first = radius * std::bit_cast<float>(std::bit_cast<uint32_t>(odd ? sine : cosine) ^ cosine_sign);
  second = radius * std::bit_cast<float>(std::bit_cast<uint32_t>(odd ? cosine : sine) ^ sine_sign);
}

/// philox4x32() on kBlocks consecutive counters, the first of which is given.
void philox_blocks(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key, std::array<Words, 4>& out) {
  const uint64_t first = counter[0] | static_cast<uint64_t>(counter[1]) << 32;
  for (size_t i = 0; i < kBlocks; ++i) {
    const uint64_t count = first + i;
    out[0][i] = static_cast<uint32_t>(count);
    out[1][i] = static_cast<uint32_t>(count >> 32);
    out[2][i] = counter[2];
    out[3][i] = counter[3];
  }
  for (int round = 0; round < 10; ++round) {
    for (size_t i = 0; i < kBlocks; ++i) {
      const uint64_t product0 = uint64_t{0xD2511F53} * out[0][i];
      const uint64_t product1 = uint64_t{0xCD9E8D57} * out[2][i];
      out[0][i] = static_cast<uint32_t>(product1 >> 32) ^ out[1][i] ^ key[0];
      out[1][i] = static_cast<uint32_t>(product1);
      out[2][i] = static_cast<uint32_t>(product0 >> 32) ^ out[3][i] ^ key[1];
      out[3][i] = static_cast<uint32_t>(product0);
    }
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
}

}  // namespace

void RandomStream::fill_normal(std::span<float> out) {
  used_ = 4;  // begin with a fresh block
  std::array<Words, 4> words;
  std::array<std::array<float, kBlocks>, 4> normals;
  for (size_t done = 0; done < out.size(); done += 4 * kBlocks) {
    const size_t wanted = std::min(out.size() - done, 4 * kBlocks);
    philox_blocks(counter_, key_, words);
    for (size_t i = 0; i < kBlocks; ++i) box_muller(words[0][i], words[1][i], normals[0][i], normals[1][i]);
    for (size_t i = 0; i < kBlocks; ++i) box_muller(words[2][i], words[3][i], normals[2][i], normals[3][i]);
    for (size_t i = 0; i < wanted; ++i) out[done + i] = normals[i % 4][i / 4];
    const uint64_t next = (counter_[0] | static_cast<uint64_t>(counter_[1]) << 32) + (wanted + 3) / 4;
    counter_[0] = static_cast<uint32_t>(next);
    counter_[1] = static_cast<uint32_t>(next >> 32);
  }
}

}  // namespace incontext::base
