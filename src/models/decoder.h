#pragma once

#include <torch/torch.h>

#include <functional>
#include <string>
#include <vector>

#include "models/decoder_options.h"
#include "ops/attention.h"
#include "ops/mlp.h"
#include "ops/settings.h"

namespace incontext::models {

struct NamedTensor {
  std::string name;
  torch::Tensor tensor;
};

/// One pass over a batch of whole sequences.
struct Step {
  /// Called at every border with the residual stream [batch, time, width]: with layer l before layer l runs, and with
  /// l = layers after the last. May look at it or replace it.
  std::function<void(int64_t layer, torch::Tensor& hidden)> at_border;
  /// The caller reads only tokens 0, n, 2n, … of what leaves the last layer. That layer then spares the others its
  /// output projection and MLP, and returns [batch, ceil(time / n), width].
  int64_t read_every = 1;
};

/// The one decoder: a stack of pre-norm blocks built from DecoderOptions, with a linear read-in for vectors and a
/// linear read-out. Parameters are fp32 leaves with gradients, named as in the checkpoint.
class Decoder {
 public:
  /// Weights are drawn from RandomStream(seed, "init:" + name), so that a model does not depend on what else is drawn.
  Decoder(const DecoderOptions& options, int64_t input_dims, uint64_t seed, torch::Device device);

  // The seam: everything that uses a model uses these three.

  /// inputs [batch, time, input_dims] -> hidden [batch, time, width].
  torch::Tensor embed(const torch::Tensor& inputs) const;
  /// Runs layers first … last-1 on hidden [batch, time, width].
  torch::Tensor run_layers(torch::Tensor hidden, int64_t first, int64_t last, const Step& step = {}) const;
  /// Read-out of normalised hidden [..., width] -> [...], a scalar per token.
  torch::Tensor head(const torch::Tensor& normed) const;

  /// The norm before the read-out; in a looped model that repeats up to the last layer, part of each loop.
  torch::Tensor final_norm(const torch::Tensor& hidden) const;
  /// The norm that ends each loop when the repeated range stops before the last layer.
  torch::Tensor loop_norm(const torch::Tensor& hidden) const;

  const DecoderOptions& options() const { return options_; }
  int64_t input_dims() const { return input_dims_; }
  torch::Device device() const { return device_; }
  std::vector<NamedTensor>& parameters() { return parameters_; }
  const std::vector<NamedTensor>& parameters() const { return parameters_; }
  int64_t parameter_count() const;
  void zero_gradients();

  ops::Settings& operations() { return operations_; }
  const ops::Settings& operations() const { return operations_; }

 private:
  struct Norm {
    torch::Tensor gamma, beta;
  };
  struct Layer {
    Norm attention_norm, mlp_norm;
    torch::Tensor qkv, qkv_bias, out, out_bias;
    ops::MlpWeights mlp;
  };

  torch::Tensor add(const std::string& name, torch::IntArrayRef shape, const std::function<double()>& draw);
  Norm add_norm(const std::string& name);
  Layer add_layer(int64_t index, uint64_t seed);
  torch::Tensor add_matrix(const std::string& name, torch::IntArrayRef shape, double std, uint64_t seed);
  torch::Tensor add_uniform(const std::string& name, torch::IntArrayRef shape, double bound, uint64_t seed);
  torch::Tensor add_constant(const std::string& name, torch::IntArrayRef shape, double value);
  torch::Tensor run_layer(const Layer& layer, const torch::Tensor& hidden, int64_t read_every) const;
  torch::Tensor apply_norm(const Norm& norm, const torch::Tensor& hidden) const;

  DecoderOptions options_;
  int64_t input_dims_;
  torch::Device device_;
  ops::Settings operations_;
  ops::AttentionHeads heads_;
  std::vector<NamedTensor> parameters_;
  torch::Tensor read_in_, read_in_bias_, position_, read_out_, read_out_bias_;
  std::vector<Layer> layers_;
  Norm final_norm_, loop_norm_;
};

}  // namespace incontext::models
