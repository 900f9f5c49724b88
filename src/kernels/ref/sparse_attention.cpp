#include "kernels/sparse_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

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

/// The non-zeros of one position of a part.
struct PositionCode {
  float scale = 0;
  int64_t count = 0;
  const uint16_t* low = nullptr;
  const uint8_t* high = nullptr;

  int64_t atom(Coefficients kind, int64_t i) const { return low[i] & ((1 << atom_bits(kind)) - 1); }
  double coefficient(Coefficients kind, int64_t i) const {
    if (kind != Coefficients::integer)
      return static_cast<double>(coefficient_of(kind, static_cast<int16_t>(low[i] >> atom_bits(kind)))) * scale;
    const auto bits = static_cast<int16_t>(high[i] << 8 | low[i] >> 12 << 4);
    return static_cast<double>(coefficient_of(kind, static_cast<int16_t>(bits >> 4))) * scale;
  }
};

PositionCode code_of(const SparseLayout& layout, const std::byte* block, int64_t head, bool values, int64_t position) {
  constexpr int64_t kBlock = SparseLayout::kBlock;
  const int64_t sparsity = values ? layout.value_sparsity : layout.key_sparsity;
  int64_t begin = head * (layout.part_bytes(layout.key_sparsity) + layout.part_bytes(layout.value_sparsity)) +
                  (values ? layout.part_bytes(layout.key_sparsity) : 0);
  if (layout.counted) {
    uint32_t from = 0;
    std::memcpy(&from, block + (head * 2 + (values ? 1 : 0)) * 4, sizeof from);
    begin = from;
  }
  const auto* scales = reinterpret_cast<const uint16_t*>(block + begin);
  const auto* counts = reinterpret_cast<const uint8_t*>(block + begin + kScaleBytes);
  PositionCode code{.scale = from_f16(scales[position])};
  int64_t before = position * sparsity, total = kBlock * sparsity;
  code.count = sparsity;
  if (layout.counted) {
    before = total = 0;
    for (int64_t p = 0; p < kBlock; ++p) {
      if (p == position) before = total;
      total += counts[p];
    }
    code.count = counts[position];
  }
  const auto* low = reinterpret_cast<const uint16_t*>(block + begin + kScaleBytes + (layout.counted ? kBlock : 0));
  code.low = low + before;
  code.high = reinterpret_cast<const uint8_t*>(low + total) + before;
  return code;
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
      for (int64_t p = 0; p < SparseLayout::kBlock; ++p) {
        const PositionCode code = code_of(layout, block.data(), head, is_value, p);
        if (!std::isfinite(code.scale)) return false;
        for (int64_t i = 0; i < code.count; ++i) {
          if (code.atom(layout.coefficients, i) >= (is_value ? value_atoms : key_atoms)) return false;
        }
      }
      at += part_size(layout, total);
    }
  }
  return at == size;
}

namespace ref {
namespace {

void attend_head(const SparseAttention& args, const SparseAttentionSequence& s, int64_t row, int64_t head) {
  const SparseLayout& layout = args.layout;
  const int64_t dim = args.head_dim, kv_head = head / (args.heads / layout.kv_heads);
  const float* q = s.q + row * s.q_stride + head * dim;
  const auto value_of = [](uint16_t half) { return static_cast<double>(from_f16(half)); };
  std::vector<double> weights;
  double highest = -INFINITY;
  for (int64_t j = s.first; j < s.last; ++j) {
    const PositionCode code = code_of(layout, s.blocks[j / 32], kv_head, false, j % 32);
    double score = 0;
    for (int64_t d = 0; d < dim; ++d) {
      double key = args.key_mean != nullptr ? static_cast<double>(args.key_mean[kv_head * dim + d]) : 0;
      for (int64_t i = 0; i < code.count; ++i) {
        const int64_t atom = code.atom(layout.coefficients, i);
        key += code.coefficient(layout.coefficients, i) *
               value_of(args.key_panels[(atom / 16 * dim + d) * 16 + atom % 16]);
      }
      score += key * static_cast<double>(q[d]);
    }
    weights.push_back(score * static_cast<double>(args.scale));
    highest = std::max(highest, weights.back());
  }
  double sum = 0;
  for (double& weight : weights) sum += weight = std::exp(weight - highest);
  std::vector<double> out(static_cast<std::size_t>(dim), 0);
  for (int64_t j = s.first; j < s.last; ++j) {
    const PositionCode code = code_of(layout, s.blocks[j / 32], kv_head, true, j % 32);
    for (int64_t d = 0; d < dim; ++d) {
      double value = args.value_mean != nullptr ? static_cast<double>(args.value_mean[kv_head * dim + d]) : 0;
      for (int64_t i = 0; i < code.count; ++i) {
        value += code.coefficient(layout.coefficients, i) *
                 value_of(args.value_rows[code.atom(layout.coefficients, i) * dim + d]);
      }
      out[static_cast<std::size_t>(d)] += weights[static_cast<std::size_t>(j - s.first)] / sum * value;
    }
  }
  for (int64_t d = 0; d < dim; ++d)
    s.out[(row * args.heads + head) * dim + d] = static_cast<float>(out[static_cast<std::size_t>(d)]);
  s.log_sums[row * args.heads + head] = static_cast<float>(highest / std::log(2.0) + std::log2(sum));
}

}  // namespace

void sparse_attention(const SparseAttention& args) {
  for (const SparseAttentionSequence& s : args.sequences) {
    for (int64_t row = 0; row < s.count; ++row) {
      for (int64_t head = 0; head < args.heads; ++head) attend_head(args, s, row, head);
    }
  }
}

}  // namespace ref
}  // namespace incontext::kernels
