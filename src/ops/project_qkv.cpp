#include "base/error.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/product.h"
#include "ops/read_tokens.h"

namespace incontext::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Of rows that are read all columns; of the others those of keys and values.
class QkvFunction : public torch::autograd::Function<QkvFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                        int64_t query_width, const kernels::Reads& reads, bool bf16, torch::ScalarType type) {
    const auto precision = bf16 ? kernels::Precision::bf16 : kernels::Precision::f32;
    const Tensor rows = product::as_rows(x);
    const Tensor y = torch::empty({rows.size(0), weight.size(0)}, x.options().dtype(type));
    const float* add = product::data_or_null(bias);
    for (const kernels::Reads& others : others_than(reads)) {
      product::forward(read_rows(rows, others), weight.slice(0, query_width),
                       {.bias = add == nullptr ? nullptr : add + query_width},
                       read_rows(y, others).slice(1, query_width), precision);
    }
    product::forward(read_rows(rows, reads), weight, {.bias = add}, read_rows(y, reads), precision);
    context->save_for_backward({rows, weight});
    context->saved_data["shape"] = x.sizes().vec();
    context->saved_data["query_width"] = query_width;
    context->saved_data["reads"] = std::vector<int64_t>{reads.first, reads.every};
    context->saved_data["bf16"] = bf16;
    context->saved_data["wanted"] = wanted_gradients({x, weight, bias});
    return y.view({x.size(0), x.size(1), weight.size(0)});
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor& x = saved[0];
    const Tensor& weight = saved[1];
    const int64_t query_width = context->saved_data["query_width"].toInt();
    const auto kept_reads = context->saved_data["reads"].toIntVector();
    const kernels::Reads reads{kept_reads[0], kept_reads[1]};
    const auto precision = context->saved_data["bf16"].toBool() ? kernels::Precision::bf16 : kernels::Precision::f32;
    const Tensor dy = product::as_rows(gradients[0]);
    const auto wanted = context->saved_data["wanted"].toBoolList();
    Tensor dx, dweight, dbias;
    if (wanted[0]) {
      dx = torch::empty_like(x);
      for (const kernels::Reads& others : others_than(reads)) {
        product::write_input_gradient(read_rows(dy, others).slice(1, query_width), weight.slice(0, query_width), {},
                                      read_rows(dx, others), precision);
      }
      product::write_input_gradient(read_rows(dy, reads), weight, {}, read_rows(dx, reads), precision);
      dx = dx.view(context->saved_data["shape"].toIntVector());
    }
    if (wanted[1] || wanted[2]) {
      dweight = torch::empty_like(weight);
      if (wanted[2]) dbias = torch::empty({weight.size(0)}, weight.options());
      const auto write = [&](const Tensor& from, const Tensor& to, int64_t first, int64_t last) {
        product::write_weight_gradient(from.slice(1, first, last), to, dweight.slice(0, first, last),
                                       dbias.defined() ? dbias.slice(0, first, last) : Tensor(), precision);
      };
      write(read_rows(dy, reads), read_rows(x, reads), 0, query_width);
      write(dy, x, query_width, dy.size(1));
    }
    return {dx, dweight, dbias, Tensor(), Tensor(), Tensor(), Tensor()};
  }

 private:
  // All rows but those that are read, at the same distances; or all rows in one, before those that are read.
  static std::vector<kernels::Reads> others_than(const kernels::Reads& reads) {
    if (reads.every > kMostReadsApart) return {{}};
    std::vector<kernels::Reads> others;
    for (int64_t first = 0; first < reads.every; ++first) {
      if (first != reads.first) others.push_back({first, reads.every});
    }
    return others;
  }
};

}  // namespace

Tensor project_qkv(const Settings& settings, const Tensor& x, const Tensor& weight, const Tensor& bias,
                   const AttentionHeads& heads, Keep keep, const kernels::Reads& reads) {
  base::check(weight.size(0) == heads.packed_width(), "[project_qkv] expected weight [{}, in], got [{}]",
              heads.packed_width(), fmt::join(weight.sizes(), ", "));
  check_reads("project_qkv", x, reads);
  const bool all = reads.all() || !reads.regular(x.size(1));
  if (all || !use_kernels(settings, x)) return linear(settings, x, {weight, bias}, {}, keep);
  return QkvFunction::apply(x, weight, OptionalTensor(bias), heads.heads * heads.head_dim, reads,
                            settings.precision == kernels::Precision::bf16, kept_type(settings, keep));
}

}  // namespace incontext::ops
