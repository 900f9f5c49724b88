#include "models/layers/norm.h"

namespace incontext::models {

using torch::Tensor;

Norm::Norm(const DecoderOptions& options, const std::string& name, ParameterBuilder& parameters)
    : kind_(options.norm.type == NormType::rms ? kernels::NormKind::rms : kernels::NormKind::layer),
      epsilon_(options.norm.epsilon) {
  gamma_ = parameters.add(name + ".weight", {options.width}, {Init::Kind::constant, 1});
  if (kind_ == kernels::NormKind::layer) {
    beta_ = parameters.add(name + ".bias", {options.width}, {Init::Kind::constant, 0});
  }
}

Tensor Norm::forward(const ops::Settings& settings, const Tensor& x) const {
  return ops::norm(settings, kind_, x, gamma_, beta_, epsilon_).normed;
}

ops::Normed Norm::split(const ops::Settings& settings, const Tensor& x, ops::Keep keep,
                        const kernels::Reads& reads) const {
  return ops::norm(settings, kind_, x, gamma_, beta_, epsilon_, keep, reads);
}

}  // namespace incontext::models
