#pragma once

#include <cstdint>

namespace incontext::kernels {

/// Which tokens of a sequence are read: first, first + every, first + 2 every, … below its end. A prompt of x y pairs
/// is read at {0, 2}, one of x z y triples at {1, 3}, and the last of `time` tokens is {time - 1, time}.
struct Reads {
  int64_t first = 0;
  int64_t every = 1;

  /// Reads before token `time`; also the number of the first read that is at this token or behind it.
  constexpr int64_t count(int64_t time) const {
    if (time <= first) return 0;
    return every == 1 ? time - first : (time - first + every - 1) / every;  // a division is felt in inner loops
  }
  /// The token of a read.
  constexpr int64_t token(int64_t read) const { return first + read * every; }
  constexpr bool all() const { return first == 0 && every == 1; }
  /// Whether rows first, first + every, … of several sequences of `time` tokens, one after the other, are their reads:
  /// `every` divides `time` and `first` is below it.
  constexpr bool regular(int64_t time) const { return first < every && time % every == 0; }

  friend constexpr bool operator==(const Reads&, const Reads&) = default;
};

}  // namespace incontext::kernels
