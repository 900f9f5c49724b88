#include "kernels/cache_attention.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/key_blocks.h"

namespace incontext::kernels::ref {
namespace {

void attend(const CacheAttention& args, const CacheAttentionSequence& s, int64_t i, int64_t h) {
  const int64_t g = h / (args.heads / args.kv_heads);
  const float* q = s.q + i * args.q_stride + h * args.head_dim;
  const int64_t position = s.first_position + i;
  const int64_t first = args.window > 0 ? std::max<int64_t>(0, position - args.window + 1) : 0;
  std::vector<double> p;
  double highest = -INFINITY;
  for (int64_t j = first; j <= position; ++j) {
    double score = 0;
    for (int64_t d = 0; d < args.head_dim; ++d) {
      score +=
          static_cast<double>(q[d]) *
          static_cast<double>(read_element(args.storage, s.keys[g], key_element(args.storage, args.head_dim, j, d)));
    }
    p.push_back(static_cast<double>(args.scale) * score);
    highest = std::max(highest, p.back());
  }
  double sum = 0;
  for (double& value : p) sum += value = std::exp(value - highest);
  if (s.log_sums != nullptr) {
    s.log_sums[i * args.heads + h] = static_cast<float>(highest / std::log(2.0) + std::log2(sum));
  }
  for (int64_t d = 0; d < args.head_dim; ++d) {
    double mean = 0;
    for (int64_t j = first; j <= position; ++j) {
      mean += p[static_cast<std::size_t>(j - first)] / sum *
              static_cast<double>(read_element(args.storage, s.values[g], j * args.value_stride + d));
    }
    s.out[i * args.out_stride + h * args.head_dim + d] = static_cast<float>(mean);
  }
}

}  // namespace

void cache_attention(const CacheAttention& args) {
  for (const CacheAttentionSequence& s : args.sequences) {
    for (int64_t i = 0; i < s.count; ++i) {
      for (int64_t h = 0; h < args.heads; ++h) attend(args, s, i, h);
    }
  }
}

}  // namespace incontext::kernels::ref
