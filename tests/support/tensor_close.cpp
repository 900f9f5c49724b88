#include "support/tensor_close.h"

#include <sstream>

#include "tensor/torch.h"

namespace incontext::testing {
namespace {

std::string describe(const torch::Tensor& tensor) {
  if (!tensor.defined()) return "an undefined tensor";
  std::ostringstream out;
  out << tensor.scalar_type() << " " << tensor.sizes();
  return out.str();
}

std::span<const double> elements(const torch::Tensor& doubles) {
  return {doubles.data_ptr<double>(), static_cast<size_t>(doubles.numel())};
}

torch::Tensor as_doubles(const torch::Tensor& tensor) {
  const torch::Tensor real = tensor.is_complex() ? torch::view_as_real(tensor.resolve_conj()) : tensor;
  return real.detach().to(torch::kCPU, torch::kFloat64).contiguous();
}

}  // namespace

std::string compare(const torch::Tensor& actual, const torch::Tensor& expected, Tolerance tolerance) {
  const bool alike = actual.defined() && expected.defined() && actual.scalar_type() == expected.scalar_type() &&
                     actual.sizes() == expected.sizes();
  if (!alike) return "expected " + describe(expected) + ", got " + describe(actual);
  if (actual.numel() > 0 && actual.data_ptr() == expected.data_ptr()) return "the two tensors are the same memory";
  const bool whole = c10::isIntegralType(actual.scalar_type(), /*includeBool=*/true);
  const torch::Tensor a = as_doubles(actual);
  const torch::Tensor e = as_doubles(expected);
  std::string difference = compare(elements(a), elements(e), whole ? exact() : tolerance);
  // Integers above 2^53 may differ and still be the same double.
  if (difference.empty() && whole && !torch::equal(actual.cpu(), expected.cpu())) {
    difference = "some integers above 2^53 differ";
  }
  return difference.empty() ? "" : describe(expected) + ": " + difference;
}

}  // namespace incontext::testing
