#include "kernels/code_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace incontext::kernels::ref {
namespace {

void attend_to_codes(const CodeAttention& args, const CodeAttentionSequence& s, int64_t i, int64_t h) {
  const int64_t g = h / (args.heads / args.kv_heads);
  const float* q = s.q + i * args.q_stride + h * args.head_dim;
  const int64_t key_bytes = args.keys.bytes(args.head_dim);
  const auto keys_at = [&](int64_t position) {
    return s.codes + position / kCodeBlock * args.block_bytes + g * (key_bytes + args.values.bytes(args.head_dim));
  };
  std::vector<double> p;
  for (int64_t j = s.first; j < s.last; ++j) {
    double score = 0;
    for (int64_t d = 0; d < args.head_dim; ++d) {
      score += static_cast<double>(q[d]) * decode_code(args.keys, keys_at(j), args.head_dim, j % kCodeBlock, d);
    }
    p.push_back(static_cast<double>(args.scale) * score);
  }
  const double highest = *std::max_element(p.begin(), p.end());
  double sum = 0;
  for (double& value : p) sum += value = std::exp(value - highest);
  if (s.log_sums != nullptr) {
    s.log_sums[i * args.heads + h] = static_cast<float>(highest / std::log(2.0) + std::log2(sum));
  }
  for (int64_t d = 0; d < args.head_dim; ++d) {
    double mean = 0;
    for (int64_t j = s.first; j < s.last; ++j) {
      mean += p[static_cast<std::size_t>(j - s.first)] / sum *
              decode_code(args.values, keys_at(j) + key_bytes, args.head_dim, j % kCodeBlock, d);
    }
    s.out[i * args.out_stride + h * args.head_dim + d] = static_cast<float>(mean);
  }
}

}  // namespace

void code_attention(const CodeAttention& args) {
  for (const CodeAttentionSequence& s : args.sequences) {
    for (int64_t i = 0; i < s.count; ++i) {
      for (int64_t h = 0; h < args.heads; ++h) attend_to_codes(args, s, i, h);
    }
  }
}

}  // namespace incontext::kernels::ref
