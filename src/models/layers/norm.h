#pragma once

#include "models/decoder_options.h"
#include "models/layers/parameters.h"
#include "ops/norm.h"

namespace incontext::models {

/// A layer norm or RMS norm over the width of the residual stream.
class Norm {
 public:
  Norm() = default;
  /// Adds "<name>.weight" and, for a layer norm, "<name>.bias".
  Norm(const DecoderOptions& options, const std::string& name, ParameterBuilder& parameters);

  bool defined() const { return gamma_.defined(); }
  const torch::Tensor& gamma() const { return gamma_; }
  const torch::Tensor& beta() const { return beta_; }
  kernels::NormKind kind() const { return kind_; }
  double epsilon() const { return epsilon_; }

  torch::Tensor forward(const ops::Settings& settings, const torch::Tensor& x) const;
  /// With the residual beside it: ops::norm.
  ops::Normed split(const ops::Settings& settings, const torch::Tensor& x, ops::Keep keep,
                    const kernels::Reads& reads) const;

 private:
  kernels::NormKind kind_ = kernels::NormKind::layer;
  double epsilon_ = 0;
  torch::Tensor gamma_, beta_;
};

}  // namespace incontext::models
