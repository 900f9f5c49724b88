#include "models/layers/mlp.h"

#include "models/layers/residual_init.h"

namespace incontext::models {
namespace {

kernels::Activation activation_of(MlpType type) {
  if (type == MlpType::relu) return kernels::Activation::relu;
  return type == MlpType::gelu ? kernels::Activation::gelu_tanh : kernels::Activation::none;
}

}  // namespace

Mlp::Mlp(const DecoderOptions& options, MlpType type, const std::string& prefix, ParameterBuilder& parameters)
    : activation_(activation_of(type)) {
  const int64_t width = options.width;
  const int64_t hidden = options.resolved_mlp_width();
  const Init normal{Init::Kind::normal, options.init_std};
  const bool bias = options.bias || options.mlp.bias;
  if (type == MlpType::gated)
    weights_.gate = parameters.add_linear(prefix + "gate", hidden, width, normal, options.mlp.bias);
  weights_.up = parameters.add_linear(prefix + "up", hidden, width, normal, bias);
  weights_.down = parameters.add_linear(prefix + "down", width, hidden, residual_init(options), bias);
}

torch::Tensor Mlp::forward(const ops::Settings& settings, const ops::Normed& x) const {
  return ops::mlp(settings, x.normed, weights_, activation_, x.residual);
}

}  // namespace incontext::models
