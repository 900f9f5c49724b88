#include "base/error.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/product.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Of rows 0, n, 2n, … all columns; of the others those of keys and values.
class QkvFunction : public torch::autograd::Function<QkvFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                        int64_t query_width, int64_t query_every, bool bf16, torch::ScalarType type) {
    const auto precision = bf16 ? kernels::Precision::bf16 : kernels::Precision::f32;
    const Tensor rows = product::as_rows(x);
    const Tensor y = torch::empty({rows.size(0), weight.size(0)}, x.options().dtype(type));
    const float* add = product::data_or_null(bias);
    product::forward(every(rows, 0, query_every), weight, {.bias = add}, every(y, 0, query_every), precision);
    for (int64_t i = 1; i < query_every; ++i) {
      product::forward(every(rows, i, query_every), weight.slice(0, query_width),
                       {.bias = add == nullptr ? nullptr : add + query_width},
                       every(y, i, query_every).slice(1, query_width), precision);
    }
    context->save_for_backward({rows, weight});
    context->saved_data["shape"] = x.sizes().vec();
    context->saved_data["query_width"] = query_width;
    context->saved_data["query_every"] = query_every;
    context->saved_data["bf16"] = bf16;
    context->saved_data["wanted"] = wanted_gradients({x, weight, bias});
    return y.view({x.size(0), x.size(1), weight.size(0)});
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor& x = saved[0];
    const Tensor& weight = saved[1];
    const int64_t query_width = context->saved_data["query_width"].toInt();
    const int64_t query_every = context->saved_data["query_every"].toInt();
    const auto precision = context->saved_data["bf16"].toBool() ? kernels::Precision::bf16 : kernels::Precision::f32;
    const Tensor dy = product::as_rows(gradients[0]);
    const auto wanted = context->saved_data["wanted"].toBoolList();
    Tensor dx, dweight, dbias;
    if (wanted[0]) {
      dx = torch::empty_like(x);
      product::write_input_gradient(every(dy, 0, query_every), weight, {}, every(dx, 0, query_every), precision);
      for (int64_t i = 1; i < query_every; ++i) {
        product::write_input_gradient(every(dy, i, query_every).slice(1, query_width), weight.slice(0, query_width), {},
                                      every(dx, i, query_every), precision);
      }
      dx = dx.view(context->saved_data["shape"].toIntVector());
    }
    if (wanted[1] || wanted[2]) {
      dweight = torch::empty_like(weight);
      if (wanted[2]) dbias = torch::empty({weight.size(0)}, weight.options());
      const auto write = [&](const Tensor& from, const Tensor& to, int64_t first, int64_t last) {
        product::write_weight_gradient(from.slice(1, first, last), to, dweight.slice(0, first, last),
                                       dbias.defined() ? dbias.slice(0, first, last) : Tensor(), precision);
      };
      write(every(dy, 0, query_every), every(x, 0, query_every), 0, query_width);
      write(dy, x, query_width, dy.size(1));
    }
    return {dx, dweight, dbias, Tensor(), Tensor(), Tensor(), Tensor()};
  }

 private:
  // Rows i, i + n, i + 2n, …
  static Tensor every(const Tensor& rows, int64_t i, int64_t n) { return rows.slice(0, i, rows.size(0), n); }
};

}  // namespace

Tensor project_qkv(const Settings& settings, const Tensor& x, const Tensor& weight, const Tensor& bias,
                   const AttentionHeads& heads, Keep keep, int64_t query_every) {
  base::check(weight.size(0) == heads.packed_width(), "[project_qkv] expected weight [{}, in], got [{}]",
              heads.packed_width(), fmt::join(weight.sizes(), ", "));
  base::check(x.dim() == 3, "[project_qkv] expected x [batch, time, in], got [{}]", fmt::join(x.sizes(), ", "));
  base::check(query_every >= 1 && x.size(1) % query_every == 0,
              "[project_qkv] expected a multiple of {} tokens, got {}", query_every, x.size(1));
  if (query_every == 1 || !use_kernels(settings, x)) return linear(settings, x, {weight, bias}, {}, keep);
  return QkvFunction::apply(x, weight, OptionalTensor(bias), heads.heads * heads.head_dim, query_every,
                            settings.precision == kernels::Precision::bf16, kept_type(settings, keep));
}

}  // namespace incontext::ops
