#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/storage.h"

namespace incontext::kernels {

/// Positions that are coded together.
constexpr int64_t kCodeBlock = 32;

/// Integers c that stand for the keys or the values of one KV head at 32 positions: x = zero + scale * c, scale and
/// zero in f16. Codes of 8 bits have a sign; those of 4 and 2 bits count from 0, and where no zeros are kept they mean
/// x = scale * (c - 2^(bits - 1)).
///
/// In memory: the scales, then the zeros if any, then rows of 32 codes. A row of keys is a channel at all positions, as
/// in key_blocks.h; a row of values is a position, at 32 channels: those of the first 32 channels of all positions
/// come first. Either way attention multiplies each row by one factor and adds rows up.
struct IntegerCodes {
  int bits = 8;        // 8, 4 or 2
  bool zeros = false;  // not for keys that have scales of tokens
  /// Channels of a token that share a scale, 32 or a multiple; 0: the 32 positions of a channel share one (keys only).
  int64_t group = 32;
  bool values = false;

  /// What a code without a zero counts from.
  int offset() const { return bits == 8 || zeros ? 0 : 1 << (bits - 1); }
  int64_t row_bytes() const { return kCodeBlock * bits / 8; }
  int64_t rows(int64_t head_dim) const { return values ? subrows(head_dim) * kCodeBlock : head_dim; }
  /// Rows of a position's values.
  static int64_t subrows(int64_t head_dim) { return (head_dim + kCodeBlock - 1) / kCodeBlock; }
  int64_t groups(int64_t head_dim) const { return (head_dim + group - 1) / group; }
  int64_t scales(int64_t head_dim) const { return group == 0 ? head_dim : groups(head_dim) * kCodeBlock; }
  int64_t bytes(int64_t head_dim) const { return scales(head_dim) * (zeros ? 4 : 2) + rows(head_dim) * row_bytes(); }

  /// Which scale (and zero) the element of a position and channel has.
  int64_t scale_index(int64_t position, int64_t channel) const {
    return group == 0 ? channel : channel / group * kCodeBlock + position;
  }
  int64_t row_index(int64_t position, int64_t channel) const {
    return values ? channel / kCodeBlock * kCodeBlock + position : channel;
  }
  /// Where a row begins.
  int64_t row_start(int64_t head_dim, int64_t row) const {
    return scales(head_dim) * (zeros ? 4 : 2) + row * row_bytes();
  }
};

/// Code `index` of a row. Codes that a vector takes together share bytes: 4 bits with the one 16 further on, 2 bits
/// with those 8, 16 and 24 further on.
inline int read_code(const std::byte* row, int bits, int64_t index) {
  if (bits == 8) return static_cast<int8_t>(row[index]);
  const int64_t bytes = kCodeBlock * bits / 8;
  return static_cast<int>(row[index % bytes]) >> (index / bytes * bits) & ((1 << bits) - 1);
}

/// Writes a code into a row of zeros.
inline void write_code(std::byte* row, int bits, int64_t index, int code) {
  if (bits == 8) {
    row[index] = static_cast<std::byte>(code);
    return;
  }
  const int64_t bytes = kCodeBlock * bits / 8;
  row[index % bytes] |= static_cast<std::byte>(code << (index / bytes * bits));
}

/// The element of a position and channel that the codes at `data` stand for.
inline double decode_code(const IntegerCodes& codes, const std::byte* data, int64_t head_dim, int64_t position,
                          int64_t channel) {
  const int64_t at = codes.scale_index(position, channel);
  const int64_t row = codes.row_start(head_dim, codes.row_index(position, channel));
  const int code = read_code(data + row, codes.bits, (codes.values ? channel : position) % kCodeBlock);
  const double zero =
      codes.zeros ? static_cast<double>(read_element(Storage::f16, data, codes.scales(head_dim) + at)) : 0;
  return zero + static_cast<double>(read_element(Storage::f16, data, at)) * (code - codes.offset());
}

}  // namespace incontext::kernels
