#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ops/weight.h"
#include "tensor/torch.h"

namespace incontext::models {

struct NamedTensor {
  std::string name;
  torch::Tensor tensor;
  torch::ScalarType stored = torch::kFloat32;  // the type in which it is saved
};

/// How a fresh parameter begins.
struct Init {
  enum class Kind { normal, uniform, constant } kind = Kind::constant;
  double value = 0;  // standard deviation, bound, or the constant
};

/// Where a decoder's parameters come from: called once for each, in a fixed order.
struct WeightSource {
  std::function<torch::Tensor(const std::string& name, torch::IntArrayRef shape, const Init& init)> get;
  /// The type of a parameter where it comes from; absent: fp32.
  std::function<torch::ScalarType(const std::string& name)> stored_type = {};
  /// Queries, keys and values as one matrix "attention.qkv" (what training wants), or as three.
  bool packed_qkv = true;
};

/// Parameters drawn from RandomStream(seed, "init:" + name), so that one does not depend on which others are drawn, as
/// fp32 leaves of the autograd graph.
WeightSource fresh_weights(uint64_t seed, torch::Device device);

/// What the parts of a decoder ask for their parameters while it is built; it keeps a list of them.
class ParameterBuilder {
 public:
  ParameterBuilder(const WeightSource& source, std::vector<NamedTensor>& parameters)
      : source_(source), parameters_(parameters) {}

  /// An Error where the source has another shape.
  torch::Tensor add(const std::string& name, torch::IntArrayRef shape, const Init& init);
  /// "<name>.weight" [out, in] and, with `bias`, "<name>.bias" [out] of zeros.
  ops::Weight add_linear(const std::string& name, int64_t out, int64_t in, const Init& init, bool bias);

  bool packed_qkv() const { return source_.packed_qkv; }

 private:
  const WeightSource& source_;
  std::vector<NamedTensor>& parameters_;
};

}  // namespace incontext::models
