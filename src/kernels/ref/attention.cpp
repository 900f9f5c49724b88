#include "kernels/attention.h"

#include <cmath>
#include <cstddef>
#include <vector>

namespace incontext::kernels::ref {
namespace {

double dot(const ConstArray& a, const ConstArray& b, int64_t size) {
  double sum = 0;
  for (int64_t d = 0; d < size; ++d) sum += static_cast<double>(a[d]) * static_cast<double>(b[d]);
  return sum;
}

int64_t kv_head_of(const AttentionShape& s, int64_t head) { return head / (s.heads / s.kv_heads); }

/// softmax_j(scale * q·k_j) for query i, 0 for the keys that it does not see; returns the logarithm of the sum of
/// exponentials.
double probabilities(const AttentionShape& s, int64_t i, const ConstArray& q, const ConstArray& keys, int64_t k_stride,
                     std::vector<double>& p) {
  p.assign(static_cast<std::size_t>(s.seen_by(i)), -INFINITY);
  double highest = -INFINITY;
  for (int64_t j = s.first_seen_by(i); j < s.seen_by(i); ++j) {
    const double score = static_cast<double>(s.scale) * dot(q, keys + j * k_stride, s.head_dim);
    p[static_cast<std::size_t>(j)] = score;
    highest = std::fmax(highest, score);
  }
  double sum = 0;
  for (double& value : p) sum += value = std::exp(value - highest);
  for (double& value : p) value /= sum;
  return highest + std::log(sum);
}

}  // namespace

void attention_forward(const AttentionForward& args) {
  const AttentionShape& s = args.shape;
  std::vector<double> p;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t g = kv_head_of(s, h);
      const ConstArray keys = args.k + b * s.time * args.k_stride + g * s.head_dim;
      const ConstArray values = args.v + b * s.time * args.v_stride + g * s.head_dim;
      for (int64_t i = 0; i < s.queries(); ++i) {
        const int64_t row = b * s.queries() + i;
        const double lse = probabilities(s, i, args.q + row * args.q_stride + h * s.head_dim, keys, args.k_stride, p);
        for (int64_t d = 0; d < s.head_dim; ++d) {
          double sum = 0;
          for (int64_t j = s.first_seen_by(i); j < s.seen_by(i); ++j) {
            sum += p[static_cast<std::size_t>(j)] * static_cast<double>(values[j * args.v_stride + d]);
          }
          args.out.set(row * args.out_stride + h * s.head_dim + d, static_cast<float>(sum));
        }
        if (args.log_sum_exp != nullptr)
          args.log_sum_exp[(b * s.heads + h) * s.queries() + i] = static_cast<float>(lse);
      }
    }
  }
}

namespace {

/// The gradients of one sequence and KV head, in double.
struct Gradients {
  std::vector<double> dq;      // [queries, head_dim]
  std::vector<double> dk, dv;  // [time, head_dim]
};

void store(const std::vector<double>& values, int64_t rows, int64_t head_dim, const Array& out, int64_t stride) {
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t d = 0; d < head_dim; ++d) {
      out.set(t * stride + d, static_cast<float>(values[static_cast<std::size_t>(t * head_dim + d)]));
    }
  }
}

/// Adds what the queries of head h of sequence b contribute.
void backward_head(const AttentionBackward& args, int64_t b, int64_t h, Gradients& sums) {
  const AttentionShape& s = args.shape;
  const int64_t g = kv_head_of(s, h);
  const ConstArray keys = args.k + b * s.time * args.k_stride + g * s.head_dim;
  const ConstArray values = args.v + b * s.time * args.v_stride + g * s.head_dim;
  std::vector<double> p;
  for (int64_t i = 0; i < s.queries(); ++i) {
    const int64_t row = b * s.queries() + i;
    const ConstArray q = args.q + row * args.q_stride + h * s.head_dim;
    const ConstArray dout = args.dout + row * args.dout_stride + h * s.head_dim;
    const int64_t first = s.first_seen_by(i), last = s.seen_by(i);
    probabilities(s, i, q, keys, args.k_stride, p);
    double delta = 0;  // sum_j p_j dp_j
    for (int64_t j = first; j < last; ++j) {
      delta += p[static_cast<std::size_t>(j)] * dot(dout, values + j * args.v_stride, s.head_dim);
    }
    for (int64_t j = first; j < last; ++j) {
      const double pj = p[static_cast<std::size_t>(j)];
      const double ds = static_cast<double>(s.scale) * pj * (dot(dout, values + j * args.v_stride, s.head_dim) - delta);
      for (int64_t d = 0; d < s.head_dim; ++d) {
        sums.dq[static_cast<std::size_t>(i * s.head_dim + d)] += ds * static_cast<double>(keys[j * args.k_stride + d]);
        sums.dk[static_cast<std::size_t>(j * s.head_dim + d)] += ds * static_cast<double>(q[d]);
        sums.dv[static_cast<std::size_t>(j * s.head_dim + d)] += pj * static_cast<double>(dout[d]);
      }
    }
  }
}

}  // namespace

void attention_backward(const AttentionBackward& args) {
  const AttentionShape& s = args.shape;
  const auto size = static_cast<std::size_t>(s.time * s.head_dim);
  for (int64_t b = 0; b < s.batch; ++b) {
    const int64_t row = b * s.time, query_row = b * s.queries();
    for (int64_t g = 0; g < s.kv_heads; ++g) {
      Gradients sums{{}, std::vector<double>(size), std::vector<double>(size)};
      const int64_t group = s.heads / s.kv_heads;
      for (int64_t h = g * group; h < (g + 1) * group; ++h) {
        sums.dq.assign(static_cast<std::size_t>(s.queries() * s.head_dim), 0);
        backward_head(args, b, h, sums);
        store(sums.dq, s.queries(), s.head_dim, args.dq + query_row * args.dq_stride + h * s.head_dim, args.dq_stride);
      }
      store(sums.dk, s.time, s.head_dim, args.dk + row * args.dk_stride + g * s.head_dim, args.dk_stride);
      store(sums.dv, s.time, s.head_dim, args.dv + row * args.dv_stride + g * s.head_dim, args.dv_stride);
    }
  }
}

}  // namespace incontext::kernels::ref
