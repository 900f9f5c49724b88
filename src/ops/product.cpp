#include "ops/product.h"

#include <algorithm>

#include "kernels/rows.h"
#include "tensor/device.h"

namespace incontext::ops::product {

namespace {

Rows rows_of(const torch::Tensor& tensor) { return {array_of(tensor), row_stride(tensor)}; }

}  // namespace

kernels::MatrixProduct forward_product(int64_t rows, const Rows& x, const torch::Tensor& weight,
                                       const kernels::Epilogue& epilogue, const Rows& y) {
  return {.rows = rows,
          .columns = weight.size(0),
          .depth = weight.size(1),
          .a = x.data,
          .a_stride = x.stride,
          .b = weight.data_ptr<float>(),
          .b_stride = row_stride(weight),
          .transpose_b = true,
          .c = y.data,
          .c_stride = y.stride,
          .epilogue = epilogue};
}

kernels::MatrixProduct input_product(int64_t rows, const Rows& dy, const torch::Tensor& weight,
                                     const kernels::Epilogue& epilogue, const Rows& dx) {
  return {.rows = rows,
          .columns = weight.size(1),
          .depth = weight.size(0),
          .a = dy.data,
          .a_stride = dy.stride,
          .b = weight.data_ptr<float>(),
          .b_stride = row_stride(weight),
          .c = dx.data,
          .c_stride = dx.stride,
          .epilogue = epilogue};
}

kernels::MatrixProduct weight_product(int64_t rows, const Rows& dy, const Rows& x, const torch::Tensor& weight,
                                      float* dweight, float* dbias) {
  return {.rows = weight.size(0),
          .columns = weight.size(1),
          .depth = rows,
          .a = dy.data,
          .a_stride = dy.stride,
          .transpose_a = true,
          .b = x.data,
          .b_stride = x.stride,
          .c = dweight,
          .c_stride = row_stride(weight),
          .left_sums = dbias};
}

int64_t row_stride(const torch::Tensor& rows) {
  return rows.size(0) > 1 ? rows.stride(0) : rows.size(1);  // that of a single row says nothing
}

torch::Tensor empty_rows(int64_t rows, int64_t columns, const torch::TensorOptions& options) {
  const auto bytes = static_cast<int64_t>(torch::elementSize(torch::typeMetaToScalarType(options.dtype())));
  const int64_t padding = columns * bytes % 1024 == 0 ? 64 / bytes : 0;
  return torch::empty({rows, columns + padding}, options).narrow(1, 0, columns);
}

void forward(const torch::Tensor& x, const torch::Tensor& weight, const kernels::Epilogue& epilogue,
             const torch::Tensor& y, kernels::Precision precision) {
  kernels::matrix_product(forward_product(x.size(0), rows_of(x), weight, epilogue, rows_of(y)), precision,
                          tensor::kernel_pool());
}

void forward_chain(const torch::Tensor& x, const torch::Tensor& first_weight, const kernels::Epilogue& first,
                   int64_t stride, const torch::Tensor& second_weight, const kernels::Epilogue& second,
                   const torch::Tensor& y, kernels::Precision precision) {
  const Rows between{nullptr, stride};
  kernels::matrix_product_chain(forward_product(x.size(0), rows_of(x), first_weight, first, between),
                                forward_product(x.size(0), between, second_weight, second, rows_of(y)), precision,
                                tensor::kernel_pool());
}

torch::Tensor input_gradient(const torch::Tensor& dy, const torch::Tensor& weight, const kernels::Epilogue& epilogue,
                             kernels::Precision precision, torch::ScalarType type) {
  torch::Tensor dx = torch::empty({dy.size(0), weight.size(1)}, dy.options().dtype(type));
  write_input_gradient(dy, weight, epilogue, dx, precision);
  return dx;
}

void write_input_gradient(const torch::Tensor& dy, const torch::Tensor& weight, const kernels::Epilogue& epilogue,
                          const torch::Tensor& dx, kernels::Precision precision) {
  kernels::matrix_product(input_product(dy.size(0), rows_of(dy), weight, epilogue, rows_of(dx)), precision,
                          tensor::kernel_pool());
}

torch::Tensor frozen_input_gradient(const torch::Tensor& dy, const torch::Tensor& weight,
                                    kernels::Precision precision) {
  constexpr int64_t kRows = 256;
  const torch::Tensor dx = torch::empty({dy.size(0), weight.size(1)}, dy.options().dtype(torch::kFloat32));
  for (int64_t first = 0; first < weight.size(0); first += kRows) {
    const int64_t rows = std::min(kRows, weight.size(0) - first);
    const torch::Tensor part = weight.narrow(0, first, rows).to(torch::kFloat32).contiguous();
    const Rows columns{array_of(dy) + first, row_stride(dy)};
    kernels::MatrixProduct product = input_product(dy.size(0), columns, part, {}, rows_of(dx));
    product.accumulate = first > 0;
    kernels::matrix_product(product, precision, tensor::kernel_pool());
  }
  return dx;
}

void input_gradient_chain(const torch::Tensor& dy, const torch::Tensor& second_weight,
                          const kernels::Epilogue& epilogue, const torch::Tensor& dbetween,
                          const torch::Tensor& first_weight, const torch::Tensor& dx, kernels::Precision precision) {
  const Rows between = rows_of(dbetween);
  kernels::matrix_product_chain(input_product(dy.size(0), rows_of(dy), second_weight, epilogue, between),
                                input_product(dy.size(0), between, first_weight, {}, rows_of(dx)), precision,
                                tensor::kernel_pool());
}

torch::Tensor weight_gradient(const torch::Tensor& dy, const torch::Tensor& x, kernels::Precision precision,
                              torch::Tensor* dbias) {
  const auto f32 = dy.options().dtype(torch::kFloat32);
  torch::Tensor dweight = torch::empty({dy.size(1), x.size(1)}, f32);
  if (dbias != nullptr) *dbias = torch::empty({dy.size(1)}, f32);
  write_weight_gradient(dy, x, dweight, dbias != nullptr ? *dbias : torch::Tensor(), precision);
  return dweight;
}

void write_weight_gradient(const torch::Tensor& dy, const torch::Tensor& x, const torch::Tensor& dweight,
                           const torch::Tensor& dbias, kernels::Precision precision) {
  kernels::matrix_product(weight_product(dy.size(0), rows_of(dy), rows_of(x), dweight, dweight.data_ptr<float>(),
                                         dbias.defined() ? dbias.data_ptr<float>() : nullptr),
                          precision, tensor::kernel_pool());
}

torch::Tensor bias_gradient(const torch::Tensor& dy) {
  torch::Tensor db = torch::empty({dy.size(1)}, dy.options().dtype(torch::kFloat32));
  kernels::column_sums(dy.size(0), dy.size(1), array_of(dy), dy.size(1), db.data_ptr<float>(), tensor::kernel_pool());
  return db;
}

torch::Tensor as_rows(const torch::Tensor& x) { return x.reshape({-1, x.size(-1)}).contiguous(); }

kernels::Array array_of(const torch::Tensor& tensor) {
  if (tensor.scalar_type() == torch::kBFloat16) return static_cast<uint16_t*>(tensor.data_ptr());
  return tensor.data_ptr<float>();
}

const float* data_or_null(const OptionalTensor& tensor) {
  return present(tensor) ? tensor->data_ptr<float>() : nullptr;
}

}  // namespace incontext::ops::product
