#include "tensor/views.h"

#include "base/error.h"
#include "tensor/torch.h"

namespace incontext::tensor {
namespace {

template <class Sizes>
std::string format_sizes(const Sizes& sizes) {
  std::string out;
  for (const int64_t size : sizes) {
    if (!out.empty()) out += ", ";
    out += size == kAnySize ? "any" : std::to_string(size);
  }
  return "[" + out + "]";
}

template <class T>
T* data(const torch::Tensor& tensor, torch::Dtype dtype, std::string_view where) {
  check_dtype(tensor, dtype, where);
  check_device(tensor, torch::kCPU, where);
  check_contiguous(tensor, where);
  return tensor.data_ptr<T>();
}

template <class T>
std::span<T> data_span(const torch::Tensor& tensor, torch::Dtype dtype, std::string_view where) {
  T* first = data<T>(tensor, dtype, where);
  return {first, static_cast<size_t>(tensor.numel())};
}

}  // namespace

std::string dtype_name(torch::Dtype dtype) {
  switch (dtype) {
    case torch::kFloat64:
      return "float64";
    case torch::kFloat32:
      return "float32";
    case torch::kFloat16:
      return "float16";
    case torch::kBFloat16:
      return "bfloat16";
    case torch::kInt64:
      return "int64";
    case torch::kInt32:
      return "int32";
    case torch::kInt16:
      return "int16";
    case torch::kInt8:
      return "int8";
    case torch::kUInt8:
      return "uint8";
    case torch::kBool:
      return "bool";
    default:
      return c10::toString(dtype);
  }
}

std::string describe(const torch::Tensor& tensor) {
  if (!tensor.defined()) return "an undefined tensor";
  return fmt::format("{} {} on {}", dtype_name(tensor.scalar_type()), format_sizes(tensor.sizes()),
                     tensor.device().str());
}

void check_shape(const torch::Tensor& tensor, std::initializer_list<int64_t> expected, std::string_view where) {
  bool equal = tensor.defined() && tensor.dim() == static_cast<int64_t>(expected.size());
  if (equal) {
    const int64_t* actual = tensor.sizes().data();
    for (const int64_t size : expected) {
      equal = equal && (size == kAnySize || size == *actual);
      ++actual;
    }
  }
  if (!equal) base::fail("{}: expected shape {}, got {}", where, format_sizes(expected), describe(tensor));
}

void check_dtype(const torch::Tensor& tensor, torch::Dtype expected, std::string_view where) {
  if (!tensor.defined() || tensor.scalar_type() != expected) {
    base::fail("{}: expected {}, got {}", where, dtype_name(expected), describe(tensor));
  }
}

void check_device(const torch::Tensor& tensor, torch::Device expected, std::string_view where) {
  if (!tensor.defined() || tensor.device() != expected) {
    base::fail("{}: expected a tensor on {}, got {}", where, expected.str(), describe(tensor));
  }
}

void check_contiguous(const torch::Tensor& tensor, std::string_view where) {
  if (!tensor.defined()) base::fail("{}: expected a contiguous tensor, got an undefined tensor", where);
  if (!tensor.is_contiguous()) {
    base::fail("{}: expected a contiguous tensor, got {} with strides {}", where, describe(tensor),
               format_sizes(tensor.strides()));
  }
}

float* f32(const torch::Tensor& tensor, std::string_view where) { return data<float>(tensor, torch::kFloat32, where); }

int64_t* i64(const torch::Tensor& tensor, std::string_view where) {
  return data<int64_t>(tensor, torch::kInt64, where);
}

std::span<float> f32_span(const torch::Tensor& tensor, std::string_view where) {
  return data_span<float>(tensor, torch::kFloat32, where);
}

std::span<int64_t> i64_span(const torch::Tensor& tensor, std::string_view where) {
  return data_span<int64_t>(tensor, torch::kInt64, where);
}

}  // namespace incontext::tensor
