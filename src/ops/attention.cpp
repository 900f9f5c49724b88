#include "ops/attention.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/attention.h"
#include "ops/product.h"
#include "ops/read_tokens.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

double scale_of(const AttentionHeads& heads, const AttentionOptions& options) {
  return options.scale == 0 ? 1 / std::sqrt(static_cast<double>(heads.head_dim)) : options.scale;
}

// [batch, time, heads, head_dim] -> [batch, all_heads, time, head_dim], a key or value head repeated for its queries.
Tensor spread(const Tensor& part, int64_t repeats) {
  const Tensor by_head = part.transpose(1, 2);
  return repeats == 1 ? by_head : by_head.repeat_interleave(repeats, /*dim=*/1);
}

Tensor fallback(const Tensor& qkv, const AttentionHeads& heads, const AttentionOptions& options) {
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
  // One kernel that keeps the scores to itself; scaled by 1 / sqrt(head_dim).
  if (qkv.is_cuda() && options.window == 0 && options.scale == 0) {
    return torch::scaled_dot_product_attention(q, k, v, /*attn_mask=*/{}, /*dropout_p=*/0, options.causal)
        .transpose(1, 2)
        .reshape({batch, time, heads.heads * heads.head_dim});
  }
#endif
  Tensor scores = torch::matmul(q, k.transpose(2, 3)) * scale_of(heads, options);
  if (options.causal) {
    const Tensor all = torch::ones({time, time}, qkv.options().dtype(torch::kBool));
    Tensor hidden = all.triu(1);
    if (options.window > 0) hidden = hidden.logical_or(all.tril(-options.window));
    scores = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
  }
  return torch::matmul(scores.softmax(-1), v).transpose(1, 2).reshape({batch, time, heads.heads * heads.head_dim});
}

kernels::AttentionShape shape_of(const Tensor& qkv, const AttentionHeads& heads, const AttentionOptions& options) {
  return {.batch = qkv.size(0),
          .time = qkv.size(1),
          .heads = heads.heads,
          .kv_heads = heads.kv_heads,
          .head_dim = heads.head_dim,
          .causal = options.causal,
          .scale = static_cast<float>(scale_of(heads, options)),
          .reads = options.reads,
          .window = options.window};
}

class AttentionFunction : public torch::autograd::Function<AttentionFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& packed, const AttentionHeads& heads,
                        const AttentionOptions& options, torch::ScalarType type) {
    const Tensor qkv = packed.contiguous();
    const kernels::AttentionShape shape = shape_of(qkv, heads, options);
    const int64_t query_width = heads.heads * heads.head_dim;
    Tensor out = torch::empty({shape.batch, shape.queries(), query_width}, qkv.options().dtype(type));
    Tensor log_sum_exp =
        torch::empty({shape.batch, heads.heads, shape.queries()}, qkv.options().dtype(torch::kFloat32));
    const kernels::ConstArray base = product::array_of(qkv);
    kernels::attention_forward({.shape = shape,
                                .q = base + shape.reads.first * qkv.size(2),
                                .k = base + query_width,
                                .v = base + query_width + heads.kv_heads * heads.head_dim,
                                .q_stride = shape.reads.every * qkv.size(2),
                                .k_stride = qkv.size(2),
                                .v_stride = qkv.size(2),
                                .out = product::array_of(out),
                                .out_stride = out.size(2),
                                .log_sum_exp = log_sum_exp.data_ptr<float>()},
                               tensor::kernel_pool());
    context->save_for_backward({qkv, out, log_sum_exp});
    context->saved_data["heads"] = std::vector<int64_t>{heads.heads, heads.kv_heads, heads.head_dim};
    context->saved_data["causal"] = options.causal;
    context->saved_data["window"] = options.window;
    context->saved_data["scale"] = options.scale;
    context->saved_data["reads"] = std::vector<int64_t>{options.reads.first, options.reads.every};
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor& qkv = saved[0];
    const Tensor& out = saved[1];
    const auto heads = context->saved_data["heads"].toIntVector();
    const auto reads = context->saved_data["reads"].toIntVector();
    const kernels::AttentionShape shape = shape_of(qkv, {heads[0], heads[1], heads[2]},
                                                   {.causal = context->saved_data["causal"].toBool(),
                                                    .window = context->saved_data["window"].toInt(),
                                                    .scale = context->saved_data["scale"].toDouble(),
                                                    .reads = {reads[0], reads[1]}});
    const Tensor dout = gradients[0].contiguous();
    Tensor dqkv = torch::empty_like(qkv);
    const kernels::ConstArray base = product::array_of(qkv);
    const kernels::Array dbase = product::array_of(dqkv);
    const int64_t q_offset = shape.reads.first * qkv.size(2), q_stride = shape.reads.every * qkv.size(2);
    const int64_t k_offset = shape.heads * shape.head_dim;
    const int64_t v_offset = (shape.heads + shape.kv_heads) * shape.head_dim;
    kernels::attention_backward({.shape = shape,
                                 .q = base + q_offset,
                                 .k = base + k_offset,
                                 .v = base + v_offset,
                                 .q_stride = q_stride,
                                 .k_stride = qkv.size(2),
                                 .v_stride = qkv.size(2),
                                 .out = product::array_of(out),
                                 .dout = product::array_of(dout),
                                 .out_stride = out.size(2),
                                 .dout_stride = dout.size(2),
                                 .log_sum_exp = saved[2].data_ptr<float>(),
                                 .dq = dbase + q_offset,
                                 .dk = dbase + k_offset,
                                 .dv = dbase + v_offset,
                                 .dq_stride = q_stride,
                                 .dk_stride = qkv.size(2),
                                 .dv_stride = qkv.size(2)},
                                tensor::kernel_pool());
    return {dqkv, Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor attention(const Settings& settings, const Tensor& qkv, const AttentionHeads& heads,
                 const AttentionOptions& options) {
  base::check(
      qkv.dim() == 3 && heads.kv_heads > 0 && heads.heads % heads.kv_heads == 0 && qkv.size(2) == heads.packed_width(),
      "[attention] expected qkv [batch, time, {}] for {} heads of {} and {} KV heads, got {}", heads.packed_width(),
      heads.heads, heads.head_dim, heads.kv_heads, fmt::join(qkv.sizes(), "x"));
  base::check(options.window == 0 || (options.window > 0 && options.causal),
              "[attention] expected a window of causal attention, got {}", options.window);
  base::check(options.scale >= 0, "[attention] expected a positive scale, or 0 for 1 / sqrt(head_dim), got {}",
              options.scale);
  check_reads("attention", qkv, options.reads);
  const auto read = [&](const Tensor& out) {
    return options.reads.all() ? out : read_tokens(out, options.reads).contiguous();
  };
  if (!use_kernels(settings, qkv)) return read(fallback(qkv.contiguous(), heads, options));
  const torch::ScalarType type = kept_type(settings, options.keep);
  if (options.reads.regular(qkv.size(1))) return AttentionFunction::apply(qkv, heads, options, type);
  AttentionOptions whole = options;
  whole.reads = {};
  return read(AttentionFunction::apply(qkv, heads, whole, type));
}

}  // namespace incontext::ops
