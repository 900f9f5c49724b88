#include "ops/product.h"

#include "kernels/rows.h"
#include "tensor/device.h"

namespace incontext::ops::product {

namespace {

kernels::MatrixProduct forward_product(const torch::Tensor& x, const torch::Tensor& weight,
                                       const kernels::Epilogue& epilogue, const torch::Tensor& y) {
  return {.rows = x.size(0),
          .columns = weight.size(0),
          .depth = weight.size(1),
          .a = array_of(x),
          .a_stride = row_stride(x),
          .b = weight.data_ptr<float>(),
          .b_stride = row_stride(weight),
          .transpose_b = true,
          .c = array_of(y),
          .c_stride = row_stride(y),
          .epilogue = epilogue};
}

kernels::MatrixProduct input_product(const torch::Tensor& dy, const torch::Tensor& weight,
                                     const kernels::Epilogue& epilogue, const torch::Tensor& dx) {
  return {.rows = dy.size(0),
          .columns = weight.size(1),
          .depth = weight.size(0),
          .a = array_of(dy),
          .a_stride = row_stride(dy),
          .b = weight.data_ptr<float>(),
          .b_stride = row_stride(weight),
          .c = array_of(dx),
          .c_stride = row_stride(dx),
          .epilogue = epilogue};
}

}  // namespace

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
  kernels::matrix_product(forward_product(x, weight, epilogue, y), precision, tensor::kernel_pool());
}

void forward_chain(const torch::Tensor& x, const torch::Tensor& first_weight, const kernels::Epilogue& first,
                   int64_t stride, const torch::Tensor& second_weight, const kernels::Epilogue& second,
                   const torch::Tensor& y, kernels::Precision precision) {
  // Both are products of x's rows; the second reads what the first makes of them.
  kernels::MatrixProduct from = forward_product(x, first_weight, first, y);
  kernels::MatrixProduct to = forward_product(x, second_weight, second, y);
  from.c = nullptr;
  from.c_stride = stride;
  to.a = nullptr;
  to.a_stride = stride;
  kernels::matrix_product_chain(from, to, precision, tensor::kernel_pool());
}

torch::Tensor input_gradient(const torch::Tensor& dy, const torch::Tensor& weight, const kernels::Epilogue& epilogue,
                             kernels::Precision precision, torch::ScalarType type) {
  torch::Tensor dx = torch::empty({dy.size(0), weight.size(1)}, dy.options().dtype(type));
  write_input_gradient(dy, weight, epilogue, dx, precision);
  return dx;
}

void write_input_gradient(const torch::Tensor& dy, const torch::Tensor& weight, const kernels::Epilogue& epilogue,
                          const torch::Tensor& dx, kernels::Precision precision) {
  kernels::matrix_product(input_product(dy, weight, epilogue, dx), precision, tensor::kernel_pool());
}

void input_gradient_chain(const torch::Tensor& dy, const torch::Tensor& second_weight,
                          const kernels::Epilogue& epilogue, const torch::Tensor& dbetween,
                          const torch::Tensor& first_weight, const torch::Tensor& dx, kernels::Precision precision) {
  kernels::matrix_product_chain(input_product(dy, second_weight, epilogue, dbetween),
                                input_product(dbetween, first_weight, {}, dx), precision, tensor::kernel_pool());
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
  const kernels::MatrixProduct product{.rows = dy.size(1),
                                       .columns = x.size(1),
                                       .depth = dy.size(0),
                                       .a = array_of(dy),
                                       .a_stride = row_stride(dy),
                                       .transpose_a = true,
                                       .b = array_of(x),
                                       .b_stride = row_stride(x),
                                       .c = dweight.data_ptr<float>(),
                                       .c_stride = row_stride(dweight),
                                       .left_sums = dbias.defined() ? dbias.data_ptr<float>() : nullptr};
  kernels::matrix_product(product, precision, tensor::kernel_pool());
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
