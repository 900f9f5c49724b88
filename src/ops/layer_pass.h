#pragma once

#include <algorithm>
#include <functional>

#include "kernels/attention.h"
#include "ops/product.h"
#include "ops/transformer_layer.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// Gradients of weights are summed apart for each group of sequences, which are cut by shape alone: who carries out a
/// group does not matter. Smaller groups arrange the weights for products, and add gradients up, more often than their
/// place in the cache gains. A power of two, as numbers of threads are, or 1.
int64_t groups_of_layer(int64_t batch, int64_t time);

/// All weights, in the order in which they enter the autograd function and their gradients leave it.
template <class Visitor>
void visit_weights(LayerWeights& w, const Visitor& visitor) {
  for (torch::Tensor* tensor : {&w.attention_gamma, &w.attention_beta, &w.qkv, &w.qkv_bias, &w.out, &w.out_bias,
                                &w.mlp_gamma, &w.mlp_beta, &w.up, &w.up_bias, &w.down, &w.down_bias}) {
    visitor(*tensor);
  }
}

/// The passes of a layer through groups of sequences, forward and back.
class LayerPass {
 public:
  /// What the backward pass reads, in the order in which it is kept.
  struct Kept {
    torch::Tensor x, middle;           // [batch * time, width], [batch * queries, width]
    torch::Tensor normed, normed_mlp;  // their norms
    torch::Tensor mean, rstd, mean_mlp, rstd_mlp;
    torch::Tensor qkv;            // [batch * time, packed_width]
    torch::Tensor attended;       // [batch * queries, heads * head_dim]
    torch::Tensor log_sum_exp;    // [batch, heads, queries]
    torch::Tensor preactivation;  // [batch * queries, hidden], padded rows

    template <class Visitor>
    void visit(const Visitor& visitor) {
      for (torch::Tensor* tensor :
           {&x, &middle, &normed, &normed_mlp, &mean, &rstd, &mean_mlp, &rstd_mlp, &qkv, &attended, &log_sum_exp}) {
        visitor(*tensor);
      }
    }
  };

  /// Of `kept` the forward pass needs x alone. options.reads are regular for `time`.
  LayerPass(LayerWeights weights, const LayerOptions& options, kernels::Precision precision, Kept kept, int64_t batch,
            int64_t time);

  const Kept& kept() const { return k_; }

  /// -> [batch * queries, width].
  torch::Tensor forward();
  /// Gradients of x, then of the weights. Overwrites the preactivation that was kept.
  torch::autograd::variable_list backward(const torch::Tensor& dy);

 private:
  // Some sequences.
  struct Group {
    int64_t first = 0, count = 0;  // sequences
    int64_t row = 0, rows = 0;     // tokens
    int64_t query = 0, queries = 0;
  };

  int64_t groups() const { return (batch_ + count_ - 1) / count_; }
  bool bf16() const { return precision_ == kernels::Precision::bf16; }

  // Room for factors of products, and how many floats they take.
  kernels::Array factors(float* buffer) const;
  int64_t floats(int64_t count) const { return bf16() ? (count + 1) / 2 : count; }

  // Where there are more threads than groups, all of them share out each operation instead.
  void for_each_group(const std::function<void(int64_t group, int thread)>& work) const;
  Group group_of(int64_t index) const;

  // Tokens i, i + n, i + 2n, … of rows that begin with a token 0; and those that are read.
  product::Rows every(const product::Rows& rows, int64_t i) const;
  product::Rows read(const product::Rows& rows) const { return every(rows, o_.reads.first); }

  void multiply(const kernels::MatrixProduct& product) const;
  void normalise(int64_t rows, const product::Rows& x, const torch::Tensor& gamma, const torch::Tensor& beta,
                 const product::Rows& y, float* mean, float* rstd) const;
  kernels::AttentionShape shape_of(const Group& g) const;
  void copy_rows(int64_t rows, const product::Rows& from, const product::Rows& to) const;

  void forward(const Group& g, const torch::Tensor& y) const;
  void backward(const Group& g, const torch::Tensor& dy_of_all, const torch::Tensor& dx_of_all, float* sums,
                float* buffer) const;
  void qkv_gradients(const Group& g, const product::Rows& dqkv, const product::Rows& normed,
                     const product::Rows& dnormed, float* dweight, float* dbias) const;

  // Of one thread: three buffers that a group's gradients pass through, each used again once its contents are read.
  int64_t first_buffer() const { return floats(count_ * std::max(queries_ * hidden_stride(), time_ * packed_)); }
  int64_t second_buffer() const { return floats(count_ * std::max(queries_ * query_width_, time_ * width_)); }
  int64_t buffer_size() const { return first_buffer() + second_buffer() + count_ * queries_ * width_; }
  int64_t hidden_stride() const { return product::row_stride(k_.preactivation); }

  kernels::Precision precision_;
  LayerWeights w_;
  LayerOptions o_;
  Kept k_;
  int64_t batch_, time_, queries_, width_, packed_, query_width_, hidden_;
  torch::Tensor query_, key_value_;  // of w_.qkv, cut once: threads do not touch autograd
  int64_t count_;                    // sequences of a group
};

}  // namespace incontext::ops
