#include "ops/attention.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/attention.h"
#include "ops/product.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// [batch, time, heads, head_dim] -> [batch, all_heads, time, head_dim], a key or value head repeated for its queries.
Tensor spread(const Tensor& part, int64_t repeats) {
  const Tensor by_head = part.transpose(1, 2);
  return repeats == 1 ? by_head : by_head.repeat_interleave(repeats, /*dim=*/1);
}

Tensor fallback(const Tensor& qkv, const AttentionHeads& heads, bool causal) {
  const int64_t batch = qkv.size(0);
  const int64_t time = qkv.size(1);
  const Tensor split = qkv.view({batch, time, heads.heads + 2 * heads.kv_heads, heads.head_dim});
  const int64_t repeats = heads.heads / heads.kv_heads;
  // Split at once: the gradients of three slices taken one by one would each be padded to the whole, and added.
  const auto parts = split.split_with_sizes({heads.heads, heads.kv_heads, heads.kv_heads}, /*dim=*/2);
  const Tensor q = parts[0].transpose(1, 2);
  const Tensor k = spread(parts[1], repeats);
  const Tensor v = spread(parts[2], repeats);
#if TORCH_VERSION_MAJOR >= 2
  if (qkv.is_cuda()) {  // one kernel that keeps the scores to itself; scaled by 1 / sqrt(head_dim)
    return torch::scaled_dot_product_attention(q, k, v, /*attn_mask=*/{}, /*dropout_p=*/0, causal)
        .transpose(1, 2)
        .reshape({batch, time, heads.heads * heads.head_dim});
  }
#endif
  Tensor scores = torch::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(heads.head_dim));
  if (causal) {
    const Tensor future = torch::ones({time, time}, qkv.options().dtype(torch::kBool)).triu(1);
    scores = scores.masked_fill(future, -std::numeric_limits<double>::infinity());
  }
  return torch::matmul(scores.softmax(-1), v).transpose(1, 2).reshape({batch, time, heads.heads * heads.head_dim});
}

kernels::AttentionShape shape_of(const Tensor& qkv, const AttentionHeads& heads, bool causal, int64_t query_every) {
  return {.batch = qkv.size(0),
          .time = qkv.size(1),
          .heads = heads.heads,
          .kv_heads = heads.kv_heads,
          .head_dim = heads.head_dim,
          .causal = causal,
          .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(heads.head_dim))),
          .query_every = query_every};
}

class AttentionFunction : public torch::autograd::Function<AttentionFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& packed, int64_t heads, int64_t kv_heads, bool causal,
                        torch::ScalarType type, int64_t query_every) {
    const Tensor qkv = packed.contiguous();
    const AttentionHeads split{heads, kv_heads, qkv.size(2) / (heads + 2 * kv_heads)};
    const int64_t queries = qkv.size(1) / query_every;
    Tensor out = torch::empty({qkv.size(0), queries, heads * split.head_dim}, qkv.options().dtype(type));
    Tensor log_sum_exp = torch::empty({qkv.size(0), heads, queries}, qkv.options().dtype(torch::kFloat32));
    const kernels::ConstArray base = product::array_of(qkv);
    kernels::attention_forward({.shape = shape_of(qkv, split, causal, query_every),
                                .q = base,
                                .k = base + heads * split.head_dim,
                                .v = base + (heads + kv_heads) * split.head_dim,
                                .q_stride = query_every * qkv.size(2),
                                .k_stride = qkv.size(2),
                                .v_stride = qkv.size(2),
                                .out = product::array_of(out),
                                .out_stride = out.size(2),
                                .log_sum_exp = log_sum_exp.data_ptr<float>()},
                               tensor::kernel_pool());
    context->save_for_backward({qkv, out, log_sum_exp});
    context->saved_data["heads"] = heads;
    context->saved_data["kv_heads"] = kv_heads;
    context->saved_data["causal"] = causal;
    context->saved_data["query_every"] = query_every;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor& qkv = saved[0];
    const Tensor& out = saved[1];
    const int64_t heads = context->saved_data["heads"].toInt();
    const int64_t kv_heads = context->saved_data["kv_heads"].toInt();
    const int64_t query_every = context->saved_data["query_every"].toInt();
    const AttentionHeads split{heads, kv_heads, qkv.size(2) / (heads + 2 * kv_heads)};
    const Tensor dout = gradients[0].contiguous();
    Tensor dqkv = torch::empty_like(qkv);
    const kernels::ConstArray base = product::array_of(qkv);
    const kernels::Array dbase = product::array_of(dqkv);
    const int64_t k_offset = heads * split.head_dim;
    const int64_t v_offset = (heads + kv_heads) * split.head_dim;
    kernels::attention_backward({.shape = shape_of(qkv, split, context->saved_data["causal"].toBool(), query_every),
                                 .q = base,
                                 .k = base + k_offset,
                                 .v = base + v_offset,
                                 .q_stride = query_every * qkv.size(2),
                                 .k_stride = qkv.size(2),
                                 .v_stride = qkv.size(2),
                                 .out = product::array_of(out),
                                 .dout = product::array_of(dout),
                                 .out_stride = out.size(2),
                                 .dout_stride = dout.size(2),
                                 .log_sum_exp = saved[2].data_ptr<float>(),
                                 .dq = dbase,
                                 .dk = dbase + k_offset,
                                 .dv = dbase + v_offset,
                                 .dq_stride = query_every * qkv.size(2),
                                 .dk_stride = qkv.size(2),
                                 .dv_stride = qkv.size(2)},
                                tensor::kernel_pool());
    return {dqkv, Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor attention(const Settings& settings, const Tensor& qkv, const AttentionHeads& heads, bool causal, Keep keep,
                 int64_t query_every) {
  base::check(
      qkv.dim() == 3 && heads.kv_heads > 0 && heads.heads % heads.kv_heads == 0 && qkv.size(2) == heads.packed_width(),
      "[attention] expected qkv [batch, time, {}] for {} heads of {} and {} KV heads, got {}", heads.packed_width(),
      heads.heads, heads.head_dim, heads.kv_heads, fmt::join(qkv.sizes(), "x"));
  base::check(query_every >= 1 && qkv.size(1) % query_every == 0,
              "[attention] expected a multiple of {} tokens, got {}", query_every, qkv.size(1));
  if (!use_kernels(settings, qkv)) {
    const Tensor out = fallback(qkv.contiguous(), heads, causal);
    return query_every == 1 ? out : out.slice(1, 0, out.size(1), query_every).contiguous();
  }
  return AttentionFunction::apply(qkv, heads.heads, heads.kv_heads, causal, kept_type(settings, keep), query_every);
}

}  // namespace incontext::ops
