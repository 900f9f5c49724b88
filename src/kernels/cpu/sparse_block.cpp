#include "kernels/sparse_block.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/storage.h"

namespace incontext::kernels {
namespace {

constexpr int64_t kScaleBytes = SparseLayout::kBlock * 2;

int64_t non_zero_bytes(const SparseLayout& layout) { return layout.coefficients == Coefficients::integer ? 3 : 2; }

/// Of a part with so many non-zeros, even.
int64_t part_size(const SparseLayout& layout, int64_t non_zeros) {
  const int64_t bytes = kScaleBytes + (layout.counted ? SparseLayout::kBlock : 0) + non_zeros * non_zero_bytes(layout);
  return (bytes + 1) / 2 * 2;
}

int64_t index_bytes(const SparseLayout& layout) { return layout.counted ? layout.kv_heads * 2 * 4 : 0; }

/// Non-zeros that add nothing, for a code of `used` that must have `sparsity`: the ladder has no zero, so they cancel
/// each other, two or three at a time; of one alone the largest coefficient is halved, and it is the other half.
void fill_up(Coefficients kind, int64_t used, int64_t sparsity, uint16_t* atoms, int16_t* codes) {
  std::fill(atoms + used, atoms + sparsity, uint16_t{0});
  if (used == 0) std::fill_n(codes, sparsity, int16_t{0});  // its scale is 0
  if (used == 0) return;
  const auto half = static_cast<int16_t>(ladder_steps(kind)), quarter = static_cast<int16_t>(2 * half);
  const auto negative = static_cast<int16_t>(1 << ladder_level_bits(kind));
  int64_t left = sparsity - used;
  if (left == 1) {
    const auto largest =
        std::min_element(codes, codes + used, [&](int16_t a, int16_t b) { return a % negative < b % negative; });
    *largest = static_cast<int16_t>(*largest + half);
    codes[used] = *largest;
    atoms[used] = atoms[largest - codes];
    return;
  }
  int16_t* to = codes + used;
  if (left % 2 == 1) {
    to[0] = half;
    to[1] = to[2] = static_cast<int16_t>(quarter + negative);
    to += 3;
    left -= 3;
  }
  for (int64_t i = 0; i < left; ++i) to[i] = static_cast<int16_t>(i % 2 == 0 ? half : half + negative);
}

int64_t write_part(const SparseLayout& layout, const SparseCodes& codes, int64_t sparsity, int64_t head,
                   std::byte* out) {
  constexpr int64_t kBlock = SparseLayout::kBlock;
  auto* scales = reinterpret_cast<uint16_t*>(out);
  auto* counts = reinterpret_cast<uint8_t*>(out + kScaleBytes);
  int64_t total = 0;
  for (int64_t position = 0; position < kBlock; ++position) {
    const int64_t row = position * layout.kv_heads + head;
    scales[position] = codes.scales[row];
    if (layout.counted) counts[position] = static_cast<uint8_t>(codes.used[row]);
    total += layout.counted ? codes.used[row] : sparsity;
  }
  auto* low = reinterpret_cast<uint16_t*>(out + kScaleBytes + (layout.counted ? kBlock : 0));
  auto* high = reinterpret_cast<uint8_t*>(low + total);
  int64_t at = 0;
  for (int64_t position = 0; position < kBlock; ++position) {
    const int64_t row = position * layout.kv_heads + head, used = codes.used[row];
    uint16_t atoms[SparseLayout::kMostNonZeros];
    int16_t coefficients[SparseLayout::kMostNonZeros];
    std::copy_n(codes.chosen + row * sparsity, sparsity, atoms);
    std::copy_n(codes.codes + row * sparsity, sparsity, coefficients);
    if (!layout.counted && ladder_level_bits(layout.coefficients) > 0 && used < sparsity) {
      fill_up(layout.coefficients, used, sparsity, atoms, coefficients);
    }
    for (int64_t i = 0; i < (layout.counted ? used : sparsity); ++i, ++at) {
      const int bits = atom_bits(layout.coefficients);
      low[at] = static_cast<uint16_t>(atoms[i] | coefficients[i] << bits);
      if (layout.coefficients == Coefficients::integer) {
        high[at] = static_cast<uint8_t>((coefficients[i] >> 4) & 255);
      }
    }
  }
  const int64_t size = part_size(layout, total);
  if (layout.coefficients == Coefficients::integer && total % 2 == 1) high[total] = 0;
  return size;
}

}  // namespace

int64_t SparseLayout::part_bytes(int64_t sparsity) const { return part_size(*this, kBlock * sparsity); }

int64_t SparseLayout::block_bytes() const {
  return index_bytes(*this) + kv_heads * (part_bytes(key_sparsity) + part_bytes(value_sparsity));
}

int64_t write_sparse_block(const SparseLayout& layout, const SparseCodes& keys, const SparseCodes& values,
                           std::byte* out) {
  int64_t at = index_bytes(layout);
  for (int64_t head = 0; head < layout.kv_heads; ++head) {
    for (const bool is_value : {false, true}) {
      if (layout.counted) {
        const auto begin = static_cast<uint32_t>(at);
        std::memcpy(out + (head * 2 + (is_value ? 1 : 0)) * 4, &begin, sizeof begin);
      }
      at += write_part(layout, is_value ? values : keys, is_value ? layout.value_sparsity : layout.key_sparsity, head,
                       out + at);
    }
  }
  return at;
}

bool is_sparse_block(const SparseLayout& layout, std::span<const std::byte> block, int64_t key_atoms,
                     int64_t value_atoms) {
  const auto size = static_cast<int64_t>(block.size());
  if (!layout.counted && size != layout.block_bytes()) return false;
  int64_t at = index_bytes(layout);
  for (int64_t head = 0; head < layout.kv_heads; ++head) {
    for (const bool is_value : {false, true}) {
      const int64_t sparsity = is_value ? layout.value_sparsity : layout.key_sparsity;
      int64_t total = SparseLayout::kBlock * sparsity;
      if (layout.counted) {
        if (at + kScaleBytes + SparseLayout::kBlock > size) return false;
        uint32_t begin = 0;
        std::memcpy(&begin, block.data() + (head * 2 + (is_value ? 1 : 0)) * 4, sizeof begin);
        if (begin != at) return false;
        total = 0;
        for (int64_t p = 0; p < SparseLayout::kBlock; ++p) {
          const auto count = static_cast<int64_t>(block[static_cast<std::size_t>(at + kScaleBytes + p)]);
          if (count > sparsity) return false;
          total += count;
        }
      }
      if (at + part_size(layout, total) > size) return false;
      const SparsePart part = sparse_part(layout, block.data(), head, is_value);
      const int64_t atoms = is_value ? value_atoms : key_atoms;
      for (int64_t p = 0; p < SparseLayout::kBlock; ++p) {
        if (!std::isfinite(from_f16(part.scales[p]))) return false;
      }
      for (int64_t i = 0; i < total; ++i) {
        if ((part.low[i] & (layout.most_atoms() - 1)) >= atoms) return false;
      }
      at += part_size(layout, total);
    }
  }
  return at == size;
}

SparsePart sparse_part(const SparseLayout& layout, const std::byte* block, int64_t head, bool values) {
  constexpr int64_t kBlock = SparseLayout::kBlock;
  const int64_t sparsity = values ? layout.value_sparsity : layout.key_sparsity;
  const int64_t key_part = layout.part_bytes(layout.key_sparsity);
  int64_t begin = head * (key_part + layout.part_bytes(layout.value_sparsity)) + (values ? key_part : 0);
  if (layout.counted) {
    uint32_t from = 0;
    std::memcpy(&from, block + (head * 2 + (values ? 1 : 0)) * 4, sizeof from);
    begin = from;
  }
  SparsePart part{.scales = reinterpret_cast<const uint16_t*>(block + begin)};
  const std::byte* after = block + begin + kBlock * 2;
  int64_t total = kBlock * sparsity;
  if (layout.counted) {
    part.counts = reinterpret_cast<const uint8_t*>(after);
    after += kBlock;
    total = 0;
    for (int64_t p = 0; p < kBlock; ++p) total += part.counts[p];
  }
  part.low = reinterpret_cast<const uint16_t*>(after);
  part.high = reinterpret_cast<const uint8_t*>(part.low + total);
  return part;
}

}  // namespace incontext::kernels
