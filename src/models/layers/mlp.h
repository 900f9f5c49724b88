#pragma once

#include "models/decoder_options.h"
#include "models/layers/parameters.h"
#include "ops/mlp.h"
#include "ops/norm.h"

namespace incontext::models {

/// The second branch of a layer: two linear maps with an activation between them, or a gated pair (SwiGLU).
class Mlp {
 public:
  Mlp() = default;
  /// `type` is not none; parameters are "<prefix>gate", "<prefix>up" and "<prefix>down".
  Mlp(const DecoderOptions& options, MlpType type, const std::string& prefix, ParameterBuilder& parameters);

  bool defined() const { return weights_.up.defined(); }
  bool gated() const { return weights_.gate.defined(); }
  ops::MlpWeights& weights() { return weights_; }
  const ops::MlpWeights& weights() const { return weights_; }
  kernels::Activation activation() const { return activation_; }

  /// residual + mlp(normed).
  torch::Tensor forward(const ops::Settings& settings, const ops::Normed& x) const;

 private:
  ops::MlpWeights weights_;
  kernels::Activation activation_ = kernels::Activation::none;
};

}  // namespace incontext::models
