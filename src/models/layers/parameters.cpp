#include "models/layers/parameters.h"

#include "base/error.h"
#include "base/random.h"

namespace incontext::models {

using torch::Tensor;

WeightSource fresh_weights(uint64_t seed, torch::Device device) {
  const auto draw = [seed, device](const std::string& name, torch::IntArrayRef shape, const Init& init) {
    Tensor tensor = torch::empty(shape, torch::kFloat32);
    float* values = tensor.data_ptr<float>();
    base::RandomStream stream(seed, "init:" + name, 0);
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      double value = init.value;
      if (init.kind == Init::Kind::normal) value *= stream.normal();
      if (init.kind == Init::Kind::uniform) value = stream.uniform(-init.value, init.value);
      values[i] = static_cast<float>(value);
    }
    return tensor.to(device).set_requires_grad(true);
  };
  return {.get = draw, .packed_qkv = true};
}

Tensor ParameterBuilder::add(const std::string& name, torch::IntArrayRef shape, const Init& init) {
  const Tensor tensor = source_.get(name, shape, init);
  base::check(tensor.sizes() == shape, "tensor '{}': expected shape [{}], got [{}]", name, fmt::join(shape, ", "),
              fmt::join(tensor.sizes(), ", "));
  parameters_.push_back({name, tensor, source_.stored_type ? source_.stored_type(name) : torch::kFloat32});
  return tensor;
}

ops::Weight ParameterBuilder::add_linear(const std::string& name, int64_t out, int64_t in, const Init& init,
                                         bool bias) {
  ops::Weight weight;
  weight.matrix = add(name + ".weight", {out, in}, init);
  if (bias) weight.bias = add(name + ".bias", {out}, {Init::Kind::constant, 0});
  return weight;
}

}  // namespace incontext::models
