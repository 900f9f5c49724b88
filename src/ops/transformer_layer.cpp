#include "ops/transformer_layer.h"

#include "base/error.h"
#include "ops/layer_pass.h"
#include "ops/linear.h"
#include "ops/mlp.h"
#include "ops/norm.h"
#include "ops/product.h"
#include "ops/read_tokens.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Below this the passes gain nothing over the operations.
constexpr int64_t kFewestGroups = 4;

class LayerFunction : public torch::autograd::Function<LayerFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& attention_gamma,
                        const OptionalTensor& attention_beta, const Tensor& qkv, const OptionalTensor& qkv_bias,
                        const Tensor& out, const OptionalTensor& out_bias, const Tensor& mlp_gamma,
                        const OptionalTensor& mlp_beta, const Tensor& up, const OptionalTensor& up_bias,
                        const Tensor& down, const OptionalTensor& down_bias, const LayerOptions& options, bool bf16) {
    const auto precision = bf16 ? kernels::Precision::bf16 : kernels::Precision::f32;
    const auto or_none = [](const OptionalTensor& tensor) { return present(tensor) ? *tensor : Tensor(); };
    LayerWeights weights{attention_gamma,
                         or_none(attention_beta),
                         qkv,
                         or_none(qkv_bias),
                         out,
                         or_none(out_bias),
                         mlp_gamma,
                         or_none(mlp_beta),
                         up,
                         or_none(up_bias),
                         down,
                         or_none(down_bias)};
    LayerPass::Kept kept;
    kept.x = product::as_rows(x);
    LayerPass layer(weights, options, precision, kept, x.size(0), x.size(1));
    const Tensor y = layer.forward();
    kept = layer.kept();
    variable_list saved;
    kept.visit([&](const Tensor& tensor) { saved.push_back(tensor); });
    visit_weights(weights, [&](const Tensor& tensor) { saved.push_back(tensor); });
    context->save_for_backward(saved);
    context->saved_data["preactivation"] = kept.preactivation;
    context->saved_data["norm"] = static_cast<int64_t>(options.norm);
    context->saved_data["heads"] =
        std::vector<int64_t>{options.heads.heads, options.heads.kv_heads, options.heads.head_dim};
    context->saved_data["activation"] = static_cast<int64_t>(options.activation);
    context->saved_data["reads"] = std::vector<int64_t>{options.reads.first, options.reads.every};
    context->saved_data["scale"] = options.scale;
    context->saved_data["shape"] = x.sizes().vec();
    context->saved_data["bf16"] = bf16;
    return y.view({x.size(0), options.reads.count(x.size(1)), x.size(2)});
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    LayerPass::Kept kept;
    LayerWeights weights;
    std::size_t next = 0;
    kept.visit([&](Tensor& tensor) { tensor = saved[next++]; });
    visit_weights(weights, [&](Tensor& tensor) { tensor = saved[next++]; });
    kept.preactivation = context->saved_data["preactivation"].toTensor();
    base::check(kept.preactivation.defined(),
                "[transformer_layer] the graph was already back-propagated once, without retain_graph");
    if (torch::autograd::get_current_graph_task_keep_graph()) {
      const Tensor& p = kept.preactivation;
      kept.preactivation = product::empty_rows(p.size(0), p.size(1), p.options()).copy_(p);
    } else {
      context->saved_data["preactivation"] = Tensor();
    }
    const auto heads = context->saved_data["heads"].toIntVector();
    const auto shape = context->saved_data["shape"].toIntVector();
    const auto reads = context->saved_data["reads"].toIntVector();
    const LayerOptions options{
        .norm = static_cast<kernels::NormKind>(context->saved_data["norm"].toInt()),
        .heads = {heads[0], heads[1], heads[2]},
        .activation = static_cast<kernels::Activation>(context->saved_data["activation"].toInt()),
        .scale = context->saved_data["scale"].toDouble(),
        .reads = {reads[0], reads[1]}};
    const auto precision = context->saved_data["bf16"].toBool() ? kernels::Precision::bf16 : kernels::Precision::f32;
    LayerPass layer(weights, options, precision, kept, shape[0], shape[1]);
    variable_list out = layer.backward(product::as_rows(gradients[0]));
    out[0] = out[0].view(shape);
    out.resize(out.size() + 2);  // the options and the precision
    return out;
  }
};

// The definition.
Tensor composed(const Settings& settings, const Tensor& x, const LayerWeights& w, const LayerOptions& o) {
  const Normed before =
      norm(settings, o.norm, x, w.attention_gamma, w.attention_beta, o.epsilon, Keep::for_products, o.reads);
  const Tensor qkv = project_qkv(settings, before.normed, w.qkv, w.qkv_bias, o.heads, Keep::for_products, o.reads);
  const Tensor attended =
      attention(settings, qkv, o.heads, {.scale = o.scale, .reads = o.reads, .keep = Keep::for_products});
  const Tensor middle = linear(settings, attended, {w.out, w.out_bias}, before.residual);
  const Normed after = norm(settings, o.norm, middle, w.mlp_gamma, w.mlp_beta, o.epsilon, Keep::for_products);
  return mlp(settings, after.normed, {{w.up, w.up_bias}, {w.down, w.down_bias}}, o.activation, after.residual);
}

void check_shape(const char* name, const Tensor& tensor, torch::IntArrayRef shape) {
  base::check(tensor.defined() && tensor.sizes() == shape, "[transformer_layer] expected {} [{}], got {}", name,
              fmt::join(shape, ", "), tensor.defined() ? fmt::format("[{}]", fmt::join(tensor.sizes(), ", ")) : "none");
}

void check_arguments(const Tensor& x, const LayerWeights& w, const LayerOptions& o) {
  check_reads("transformer_layer", x, o.reads);
  base::check(o.plain_attention,
              "[transformer_layer] expected attention without a window, rotary positions and norms of heads");
  const int64_t width = x.size(2), packed = o.heads.packed_width();
  base::check(w.up.defined() && w.up.dim() == 2, "[transformer_layer] expected an MLP");
  const int64_t hidden = w.up.size(0);
  check_shape("attention_gamma", w.attention_gamma, {width});
  check_shape("qkv", w.qkv, {packed, width});
  check_shape("out", w.out, {width, o.heads.heads * o.heads.head_dim});
  check_shape("mlp_gamma", w.mlp_gamma, {width});
  check_shape("up", w.up, {hidden, width});
  check_shape("down", w.down, {width, hidden});
  const auto check_optional = [](const char* name, const Tensor& tensor, int64_t size) {
    if (tensor.defined()) check_shape(name, tensor, {size});
  };
  check_optional("attention_beta", w.attention_beta, width);
  check_optional("qkv_bias", w.qkv_bias, packed);
  check_optional("out_bias", w.out_bias, width);
  check_optional("mlp_beta", w.mlp_beta, width);
  check_optional("up_bias", w.up_bias, hidden);
  check_optional("down_bias", w.down_bias, width);
}

// Whether the passes know this layer. Reads far apart are left to project_qkv().
bool knows(const Settings& settings, const Tensor& x, const LayerWeights& weights, const LayerOptions& options) {
  return use_kernels(settings, x) && x.scalar_type() == torch::kFloat32 && x.dim() == 3 && options.plain_attention &&
         options.reads.regular(x.size(1)) && options.reads.every <= kMostReadsApart && weights.up.defined() &&
         options.activation != kernels::Activation::none;
}

}  // namespace

bool takes_transformer_layer(const Settings& settings, const Tensor& x, const LayerWeights& weights,
                             const LayerOptions& options) {
  if (!knows(settings, x, weights, options)) return false;
  bool wanted = torch::GradMode::is_enabled();
  LayerWeights all = weights;
  visit_weights(all, [&](const Tensor& weight) { wanted = wanted && (!weight.defined() || weight.requires_grad()); });
  return wanted && groups_of_layer(x.size(0), x.size(1)) >= kFewestGroups;
}

Tensor transformer_layer(const Settings& settings, const Tensor& x, const LayerWeights& w,
                         const LayerOptions& options) {
  check_arguments(x, w, options);
  if (!knows(settings, x, w, options)) return composed(settings, x, w, options);
  return LayerFunction::apply(x, w.attention_gamma, OptionalTensor(w.attention_beta), w.qkv, OptionalTensor(w.qkv_bias),
                              w.out, OptionalTensor(w.out_bias), w.mlp_gamma, OptionalTensor(w.mlp_beta), w.up,
                              OptionalTensor(w.up_bias), w.down, OptionalTensor(w.down_bias), options,
                              settings.precision == kernels::Precision::bf16);
}

}  // namespace incontext::ops
