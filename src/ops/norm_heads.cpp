#include "ops/norm_heads.h"

#include "base/error.h"
#include "kernels/norm.h"
#include "ops/packed_heads.h"
#include "ops/product.h"
#include "ops/read_tokens.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The heads of one kind in a packed qkv.
struct Part {
  int64_t first, count;
  kernels::Reads reads;  // tokens that are normalised
};

Part queries_of(const AttentionHeads& heads, const kernels::Reads& reads) { return {0, heads.heads, reads}; }
Part keys_of(const AttentionHeads& heads) { return {heads.heads, heads.kv_heads, {}}; }

// [tokens, heads of the part, head_dim], a view.
Tensor view_of(const Tensor& split, const Part& part) {
  return read_rows(split, part.reads).narrow(1, part.first, part.count);
}

Tensor fallback(const Tensor& split, const Part& part, const Tensor& gamma, double epsilon) {
  const Tensor x = split.narrow(1, part.first, part.count);
  return x * torch::rsqrt(x.square().mean(-1, /*keepdim=*/true) + epsilon) * gamma;
}

struct NormedPart {
  Tensor rows;  // what was normalised, [tokens * heads, head_dim]
  Tensor rstd;  // [tokens * heads]
};

NormedPart normalise(const Tensor& split, const Part& part, const Tensor& gamma, double epsilon) {
  const Tensor view = view_of(split, part);
  NormedPart kept;
  kept.rows = torch::empty(view.sizes(), view.options()).copy_(view).view({-1, gamma.size(0)});
  kept.rstd = torch::empty({kept.rows.size(0)}, view.options());
  Tensor normed = torch::empty_like(kept.rows);
  kernels::norm_forward({.kind = kernels::NormKind::rms,
                         .rows = kept.rows.size(0),
                         .width = kept.rows.size(1),
                         .epsilon = static_cast<float>(epsilon),
                         .x = kept.rows.data_ptr<float>(),
                         .gamma = gamma.data_ptr<float>(),
                         .y = normed.data_ptr<float>(),
                         .rstd = kept.rstd.data_ptr<float>()},
                        tensor::kernel_pool());
  view.copy_(normed.view(view.sizes()));
  return kept;
}

// Turns the gradient of what was normalised into that of what was there before; returns that of gamma.
Tensor differentiate(const Tensor& dsplit, const Part& part, const Tensor& gamma, const Tensor& rows,
                     const Tensor& rstd) {
  const Tensor view = view_of(dsplit, part);
  const Tensor dy = view.reshape({-1, gamma.size(0)}).contiguous();
  Tensor dx = torch::empty_like(dy), dgamma = torch::empty_like(gamma);
  kernels::norm_backward({.kind = kernels::NormKind::rms,
                          .rows = rows.size(0),
                          .width = rows.size(1),
                          .dy = dy.data_ptr<float>(),
                          .x = rows.data_ptr<float>(),
                          .gamma = gamma.data_ptr<float>(),
                          .rstd = rstd.data_ptr<float>(),
                          .dx = dx.data_ptr<float>(),
                          .dgamma = dgamma.data_ptr<float>()},
                         tensor::kernel_pool());
  view.copy_(dx.view(view.sizes()));
  return dgamma;
}

class NormHeadsFunction : public torch::autograd::Function<NormHeadsFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& qkv, const Tensor& query_gamma, const Tensor& key_gamma,
                        const AttentionHeads& heads, double epsilon, const kernels::Reads& reads) {
    Tensor result = qkv.clone(torch::MemoryFormat::Contiguous);
    const Tensor split = by_head(result, heads);
    const NormedPart queries = normalise(split, queries_of(heads, reads), query_gamma, epsilon);
    const NormedPart keys = normalise(split, keys_of(heads), key_gamma, epsilon);
    context->save_for_backward({query_gamma, key_gamma, queries.rows, queries.rstd, keys.rows, keys.rstd});
    context->saved_data["heads"] = std::vector<int64_t>{heads.heads, heads.kv_heads, heads.head_dim};
    context->saved_data["reads"] = std::vector<int64_t>{reads.first, reads.every};
    return result;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const auto sizes = context->saved_data["heads"].toIntVector();
    const auto reads = context->saved_data["reads"].toIntVector();
    const AttentionHeads heads{sizes[0], sizes[1], sizes[2]};
    Tensor dqkv = gradients[0].clone(torch::MemoryFormat::Contiguous);
    const Tensor split = by_head(dqkv, heads);
    const Tensor dquery_gamma =
        differentiate(split, queries_of(heads, {reads[0], reads[1]}), saved[0], saved[2], saved[3]);
    const Tensor dkey_gamma = differentiate(split, keys_of(heads), saved[1], saved[4], saved[5]);
    return {dqkv, dquery_gamma, dkey_gamma, Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor norm_heads(const Settings& settings, const Tensor& qkv, const AttentionHeads& heads, const Tensor& query_gamma,
                  const Tensor& key_gamma, double epsilon, const kernels::Reads& reads) {
  check_packed("norm_heads", qkv, heads);
  for (const Tensor& gamma : {query_gamma, key_gamma}) {
    base::check(gamma.dim() == 1 && gamma.size(0) == heads.head_dim, "[norm_heads] expected gammas [{}], got [{}]",
                heads.head_dim, fmt::join(gamma.sizes(), ", "));
  }
  if (!reads.all()) check_reads("norm_heads", qkv, reads);
  const kernels::Reads normed = reads.all() || reads.regular(qkv.size(1)) ? reads : kernels::Reads{};
  const Part queries = queries_of(heads, normed), keys = keys_of(heads);
  if (!use_kernels(settings, qkv)) {
    const Tensor split = by_head(qkv, heads);
    return torch::cat({fallback(split, queries, query_gamma, epsilon), fallback(split, keys, key_gamma, epsilon),
                       split.narrow(1, heads.heads + heads.kv_heads, heads.kv_heads)},
                      1)
        .view(qkv.sizes());
  }
  base::check(qkv.scalar_type() == torch::kFloat32, "[norm_heads] expected qkv in float32, got {}",
              torch::toString(qkv.scalar_type()));
  if (wants_gradient(qkv) || wants_gradient(query_gamma) || wants_gradient(key_gamma)) {
    return NormHeadsFunction::apply(qkv, query_gamma, key_gamma, heads, epsilon, normed);
  }
  const Tensor result = qkv.contiguous();
  const Tensor split = by_head(result, heads);
  normalise(split, queries, query_gamma, epsilon);
  normalise(split, keys, key_gamma, epsilon);
  return result;
}

}  // namespace incontext::ops
