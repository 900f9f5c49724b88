#include "kernels/sparse_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/storage.h"

namespace incontext::kernels {
namespace {

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
  const SparsePart part = sparse_part(layout, block, head, values);
  const int64_t sparsity = values ? layout.value_sparsity : layout.key_sparsity;
  const auto count_of = [&](int64_t p) { return part.counts == nullptr ? sparsity : int64_t{part.counts[p]}; };
  int64_t before = 0;
  for (int64_t p = 0; p < position; ++p) before += count_of(p);
  return {.scale = from_f16(part.scales[position]),
          .count = count_of(position),
          .low = part.low + before,
          .high = part.high + before};
}

}  // namespace

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
