#include "ops/layer_pass.h"

#include <cmath>

#include "kernels/rows.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using product::Rows;
using torch::Tensor;
using torch::autograd::variable_list;

constexpr int64_t kMostGroups = 16;
constexpr int64_t kRowsOfGroup = 512;

float* data(const Tensor& tensor) { return tensor.defined() ? tensor.data_ptr<float>() : nullptr; }

base::ThreadPool& pool() { return tensor::kernel_pool(); }

Rows rows_at(const Tensor& tensor, int64_t row) {
  return Rows{product::array_of(tensor), product::row_stride(tensor)}.skip(row);
}

// Gradients of one group's weights, side by side.
struct Sums {
  float* next;
  float* take(const Tensor& weight) {
    if (!weight.defined()) return nullptr;
    float* taken = next;
    next += weight.numel();
    return taken;
  }
};

}  // namespace

int64_t groups_of_layer(int64_t batch, int64_t time) {
  int64_t groups = 1;
  while (2 * groups <= std::min({kMostGroups, batch, batch * time / kRowsOfGroup})) groups *= 2;
  return groups;
}

LayerPass::LayerPass(LayerWeights weights, const LayerOptions& options, kernels::Precision precision, Kept kept,
                     int64_t batch, int64_t time)
    : precision_(precision),
      w_(std::move(weights)),
      o_(options),
      k_(std::move(kept)),
      batch_(batch),
      time_(time),
      queries_(o_.reads.count(time)),
      width_(w_.qkv.size(1)),
      packed_(w_.qkv.size(0)),
      query_width_(o_.heads.heads * o_.heads.head_dim),
      hidden_(w_.up.size(0)),
      query_(w_.qkv.slice(0, 0, query_width_)),
      key_value_(w_.qkv.slice(0, query_width_)),
      count_((batch + groups_of_layer(batch, time) - 1) / groups_of_layer(batch, time)) {}

Tensor LayerPass::forward() {
  const auto f32 = k_.x.options();
  const auto factor = f32.dtype(bf16() ? torch::kBFloat16 : torch::kFloat32);  // of products
  const int64_t rows = batch_ * time_, queries = batch_ * queries_;
  k_.normed = torch::empty({rows, width_}, factor);
  k_.mean = torch::empty({rows}, f32);
  k_.rstd = torch::empty({rows}, f32);
  k_.qkv = torch::empty({rows, packed_}, factor);
  k_.attended = torch::empty({queries, query_width_}, factor);
  k_.log_sum_exp = torch::empty({batch_, o_.heads.heads, queries_}, f32);
  k_.middle = torch::empty({queries, width_}, f32);
  k_.normed_mlp = torch::empty({queries, width_}, factor);
  k_.mean_mlp = torch::empty({queries}, f32);
  k_.rstd_mlp = torch::empty({queries}, f32);
  k_.preactivation = product::empty_rows(queries, hidden_, factor);
  const Tensor y = torch::empty({queries, width_}, f32);
  // Every group reads and writes rows of its own.
  for_each_group([&](int64_t group, int) { forward(group_of(group), y); });
  return y;
}

variable_list LayerPass::backward(const Tensor& dy) {
  const auto f32 = k_.x.options();
  Tensor dx = torch::empty_like(k_.x);
  int64_t parameters = 0;
  visit_weights(w_, [&](const Tensor& weight) { parameters += weight.defined() ? weight.numel() : 0; });
  const Tensor sums = torch::empty({groups(), parameters}, f32);
  const Tensor buffers = torch::empty({std::min<int64_t>(pool().size(), groups()), buffer_size()}, f32);
  for_each_group([&](int64_t group, int thread) {
    backward(group_of(group), dy, dx, sums.data_ptr<float>() + group * parameters,
             buffers.data_ptr<float>() + thread * buffer_size());
  });
  const Tensor all = torch::empty({parameters}, f32);
  kernels::column_sums(groups(), parameters, sums.data_ptr<float>(), parameters, all.data_ptr<float>(), pool());
  variable_list gradients = {dx};
  int64_t first = 0;
  visit_weights(w_, [&](const Tensor& weight) {
    gradients.push_back(weight.defined() ? all.narrow(0, first, weight.numel()).view(weight.sizes()) : Tensor());
    if (weight.defined()) first += weight.numel();
  });
  return gradients;
}

kernels::Array LayerPass::factors(float* buffer) const {
  if (bf16()) return reinterpret_cast<uint16_t*>(buffer);
  return buffer;
}

void LayerPass::for_each_group(const std::function<void(int64_t group, int thread)>& work) const {
  if (pool().size() <= groups()) return pool().run(groups(), work);
  for (int64_t group = 0; group < groups(); ++group) work(group, 0);
}

LayerPass::Group LayerPass::group_of(int64_t index) const {
  Group g;
  g.first = index * count_;
  g.count = std::min(count_, batch_ - g.first);
  g.row = g.first * time_;
  g.rows = g.count * time_;
  g.query = g.first * queries_;
  g.queries = g.count * queries_;
  return g;
}

Rows LayerPass::every(const Rows& rows, int64_t i) const {
  return {rows.data + i * rows.stride, rows.stride * o_.reads.every};
}

void LayerPass::multiply(const kernels::MatrixProduct& product) const {
  kernels::matrix_product(product, precision_, pool());
}

void LayerPass::normalise(int64_t rows, const Rows& x, const Tensor& gamma, const Tensor& beta, const Rows& y,
                          float* mean, float* rstd) const {
  kernels::norm_forward({.kind = o_.norm,
                         .rows = rows,
                         .width = width_,
                         .epsilon = static_cast<float>(o_.epsilon),
                         .x = x.data.f32(),
                         .gamma = data(gamma),
                         .beta = data(beta),
                         .y = y.data,
                         .mean = mean,
                         .rstd = rstd},
                        pool());
}

void LayerPass::copy_rows(int64_t rows, const Rows& from, const Rows& to) const {
  for (int64_t i = 0; i < rows; ++i) std::copy_n(from.skip(i).data.f32(), width_, to.skip(i).data.f32());
}

kernels::AttentionShape LayerPass::shape_of(const Group& g) const {
  return {.batch = g.count,
          .time = time_,
          .heads = o_.heads.heads,
          .kv_heads = o_.heads.kv_heads,
          .head_dim = o_.heads.head_dim,
          .causal = true,
          .scale = static_cast<float>(o_.scale == 0 ? 1 / std::sqrt(static_cast<double>(o_.heads.head_dim)) : o_.scale),
          .reads = o_.reads};
}

void LayerPass::forward(const Group& g, const Tensor& y) const {
  const Rows x = rows_at(k_.x, g.row), normed = rows_at(k_.normed, g.row), qkv = rows_at(k_.qkv, g.row);
  const Rows attended = rows_at(k_.attended, g.query), middle = rows_at(k_.middle, g.query);
  const Rows normed_mlp = rows_at(k_.normed_mlp, g.query), preactivation = rows_at(k_.preactivation, g.query);
  const float* qkv_bias = data(w_.qkv_bias);
  normalise(g.rows, x, w_.attention_gamma, w_.attention_beta, normed, data(k_.mean) + g.row, data(k_.rstd) + g.row);
  multiply(product::forward_product(g.queries, read(normed), w_.qkv, {.bias = qkv_bias}, read(qkv)));
  for (int64_t i = 0; i < o_.reads.every; ++i) {
    if (i == o_.reads.first) continue;
    const Rows keys{every(qkv, i).data + query_width_, every(qkv, i).stride};
    multiply(product::forward_product(g.queries, every(normed, i), key_value_,
                                      {.bias = qkv_bias == nullptr ? nullptr : qkv_bias + query_width_}, keys));
  }
  kernels::attention_forward({.shape = shape_of(g),
                              .q = read(qkv).data,
                              .k = qkv.data + query_width_,
                              .v = qkv.data + query_width_ + o_.heads.kv_heads * o_.heads.head_dim,
                              .q_stride = o_.reads.every * packed_,
                              .k_stride = packed_,
                              .v_stride = packed_,
                              .out = attended.data,
                              .out_stride = query_width_,
                              .log_sum_exp = data(k_.log_sum_exp) + g.first * o_.heads.heads * queries_},
                             pool());
  // The product adds a residual that lies as its result does.
  if (!o_.reads.all()) copy_rows(g.queries, read(x), middle);
  multiply(product::forward_product(
      g.queries, attended, w_.out,
      {.bias = data(w_.out_bias), .residual = o_.reads.all() ? x.data.f32() : middle.data.f32()}, middle));
  normalise(g.queries, middle, w_.mlp_gamma, w_.mlp_beta, normed_mlp, data(k_.mean_mlp) + g.query,
            data(k_.rstd_mlp) + g.query);
  const Rows between{nullptr, preactivation.stride};
  kernels::matrix_product_chain(
      product::forward_product(
          g.queries, normed_mlp, w_.up,
          {.bias = data(w_.up_bias), .activation = o_.activation, .preactivation = preactivation.data}, between),
      product::forward_product(g.queries, between, w_.down,
                               {.bias = data(w_.down_bias), .residual = middle.data.f32()}, rows_at(y, g.query)),
      precision_, pool());
}

void LayerPass::backward(const Group& g, const Tensor& dy_of_all, const Tensor& dx_of_all, float* sums,
                         float* buffer) const {
  const Rows dhidden{factors(buffer), hidden_stride()}, dqkv{factors(buffer), packed_};
  const kernels::Array second = factors(buffer + first_buffer());
  const Rows dnormed_mlp{second, width_}, dattended{second, query_width_}, dnormed{second, width_};
  const Rows dmiddle{buffer + first_buffer() + second_buffer(), width_};
  const Rows dy = rows_at(dy_of_all, g.query);
  const Rows normed = rows_at(k_.normed, g.row), qkv = rows_at(k_.qkv, g.row);
  const Rows attended = rows_at(k_.attended, g.query), hidden = rows_at(k_.preactivation, g.query);
  Sums next{sums};
  float* attention_gamma = next.take(w_.attention_gamma);
  float* attention_beta = next.take(w_.attention_beta);
  float* dweight_qkv = next.take(w_.qkv);
  float* dbias_qkv = next.take(w_.qkv_bias);
  float* dweight_out = next.take(w_.out);
  float* dbias_out = next.take(w_.out_bias);
  float* mlp_gamma = next.take(w_.mlp_gamma);
  float* mlp_beta = next.take(w_.mlp_beta);
  float* dweight_up = next.take(w_.up);
  float* dbias_up = next.take(w_.up_bias);
  float* dweight_down = next.take(w_.down);
  float* dbias_down = next.take(w_.down_bias);

  // One epilogue turns dy·W into the gradient before the activation, and what was kept into its value.
  kernels::matrix_product_chain(
      product::input_product(g.queries, dy, w_.down,
                             {.activation = o_.activation, .preactivation = hidden.data, .activation_gradient = true},
                             dhidden),
      product::input_product(g.queries, dhidden, w_.up, {}, dnormed_mlp), precision_, pool());
  multiply(product::weight_product(g.queries, dy, hidden, w_.down, dweight_down, dbias_down));
  multiply(
      product::weight_product(g.queries, dhidden, rows_at(k_.normed_mlp, g.query), w_.up, dweight_up, dbias_up));
  kernels::norm_backward({.kind = o_.norm,
                          .rows = g.queries,
                          .width = width_,
                          .dy = dnormed_mlp.data,
                          .x = rows_at(k_.middle, g.query).data.f32(),
                          .gamma = data(w_.mlp_gamma),
                          .mean = data(k_.mean_mlp) + g.query,
                          .rstd = data(k_.rstd_mlp) + g.query,
                          .residual_gradient = dy.data.f32(),
                          .dx = dmiddle.data.f32(),
                          .dgamma = mlp_gamma,
                          .dbeta = mlp_beta},
                         pool());
  multiply(product::weight_product(g.queries, dmiddle, attended, w_.out, dweight_out, dbias_out));
  multiply(product::input_product(g.queries, dmiddle, w_.out, {}, dattended));
  const int64_t values = query_width_ + o_.heads.kv_heads * o_.heads.head_dim;
  kernels::attention_backward({.shape = shape_of(g),
                               .q = read(qkv).data,
                               .k = qkv.data + query_width_,
                               .v = qkv.data + values,
                               .q_stride = o_.reads.every * packed_,
                               .k_stride = packed_,
                               .v_stride = packed_,
                               .out = attended.data,
                               .dout = dattended.data,
                               .out_stride = query_width_,
                               .dout_stride = query_width_,
                               .log_sum_exp = data(k_.log_sum_exp) + g.first * o_.heads.heads * queries_,
                               .dq = read(dqkv).data,
                               .dk = dqkv.data + query_width_,
                               .dv = dqkv.data + values,
                               .dq_stride = o_.reads.every * packed_,
                               .dk_stride = packed_,
                               .dv_stride = packed_},
                              pool());
  qkv_gradients(g, dqkv, normed, dnormed, dweight_qkv, dbias_qkv);
  kernels::norm_backward({.kind = o_.norm,
                          .rows = g.rows,
                          .width = width_,
                          .dy = dnormed.data,
                          .x = rows_at(k_.x, g.row).data.f32(),
                          .gamma = data(w_.attention_gamma),
                          .mean = data(k_.mean) + g.row,
                          .rstd = data(k_.rstd) + g.row,
                          .residual_gradient = dmiddle.data.f32(),
                          .dx = rows_at(dx_of_all, g.row).data.f32(),
                          .dgamma = attention_gamma,
                          .dbeta = attention_beta,
                          .residual_reads = o_.reads},
                         pool());
}

void LayerPass::qkv_gradients(const Group& g, const Rows& dqkv, const Rows& normed, const Rows& dnormed, float* dweight,
                              float* dbias) const {
  multiply(product::input_product(g.queries, read(dqkv), w_.qkv, {}, read(dnormed)));
  for (int64_t i = 0; i < o_.reads.every; ++i) {
    if (i == o_.reads.first) continue;
    const Rows dkeys{every(dqkv, i).data + query_width_, every(dqkv, i).stride};
    multiply(product::input_product(g.queries, dkeys, key_value_, {}, every(dnormed, i)));
  }
  if (o_.reads.all()) {
    multiply(product::weight_product(g.rows, dqkv, normed, w_.qkv, dweight, dbias));
    return;
  }
  multiply(product::weight_product(g.queries, read(dqkv), read(normed), query_, dweight, dbias));
  multiply(product::weight_product(g.rows, {dqkv.data + query_width_, packed_}, normed, key_value_,
                                   dweight + query_width_ * width_, dbias == nullptr ? nullptr : dbias + query_width_));
}

}  // namespace incontext::ops
