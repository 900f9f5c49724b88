#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cache/kind.h"
#include "models/decoder_options.h"
#include "models/layers/mixer.h"
#include "models/layers/mlp.h"
#include "models/layers/norm.h"
#include "models/layers/parameters.h"
#include "models/step.h"
#include "ops/loop_border.h"
#include "ops/settings.h"
#include "tensor/torch.h"

namespace incontext::models {

/// The one decoder: a stack of layers built from DecoderOptions, with a linear read-in for vectors and a linear
/// read-out to a scalar, or a table of token embeddings and a head over the vocabulary. A layer is a norm and a mixer,
/// and (usually) a norm and an MLP; one forward serves training and serving. Parameters are named as in our checkpoint.
/// Those of a fresh decoder are fp32 leaves with gradients; those that come from files stay as they lie.
class Decoder {
 public:
  /// Weights are drawn from RandomStream(seed, "init:" + name), so that a model does not depend on what else is drawn.
  Decoder(const DecoderOptions& options, int64_t input_dims, uint64_t seed, torch::Device device);
  Decoder(const DecoderOptions& options, int64_t input_dims, const WeightSource& source, torch::Device device);

  // The seam: everything that uses a model uses these three.

  /// inputs [batch, time, input_dims], or token ids (int64) [batch, time] or, ragged, [tokens]
  /// -> hidden [batch, time, width] or [tokens, width].
  torch::Tensor embed(const torch::Tensor& inputs, const Step& step = {}) const;
  /// Runs layers first … last-1 on hidden [batch, time, width], or ragged on [tokens, width]; then the states of the
  /// sequences have taken up those layers' part of the tokens.
  torch::Tensor run_layers(torch::Tensor hidden, int64_t first, int64_t last, const Step& step = {}) const;
  /// Read-out of normalised hidden [..., width] -> [...], a scalar per token, or [..., vocabulary], logits.
  torch::Tensor head(const torch::Tensor& normed) const;

  /// The read-out of what a loop left and the injection for the next one, for models that read vectors and add.
  ops::LoopBorder loop_border(const torch::Tensor& iterate, const torch::Tensor& input) const;
  /// What the head's matrix over the vocabulary multiplies, [..., token_width], and that matrix: for losses that
  /// multiply by it themselves.
  torch::Tensor before_head(const torch::Tensor& normed) const;
  const ops::Weight& head_weight() const { return head_; }

  /// The norm before the read-out; in a looped model that repeats up to the last layer, part of each loop.
  torch::Tensor final_norm(const torch::Tensor& hidden) const;
  /// The norm that ends each loop when the repeated range stops before the last layer.
  torch::Tensor loop_norm(const torch::Tensor& hidden) const;

  // What is remembered of sequences.

  /// The shape of the KV cache of the layers that use one.
  cache::CacheShape cache_shape(int64_t capacity) const;
  /// A sequence that has seen nothing, with room for `capacity` tokens.
  std::unique_ptr<cache::SequenceState> new_sequence(const cache::CacheKind& kind, int64_t capacity) const;
  /// Bytes that new_sequence() holds when it is full, or, with a `prompt`, the most from there to when it is read.
  int64_t sequence_bytes(const cache::CacheKind& kind, int64_t capacity, int64_t prompt = 0) const;
  /// The most that it holds once such a prompt has been read.
  int64_t continuing_bytes(const cache::CacheKind& kind, int64_t capacity, int64_t prompt) const;

  const DecoderOptions& options() const { return options_; }
  int64_t input_dims() const { return input_dims_; }
  torch::Device device() const { return device_; }
  std::vector<NamedTensor>& parameters() { return parameters_; }
  const std::vector<NamedTensor>& parameters() const { return parameters_; }
  int64_t parameter_count() const;
  void zero_gradients();

  /// Adds a low-rank adapter to the weight `name`, such as "layers.0.attention.q": its factors are new parameters
  /// "<name>.lora_a" [rank, in], drawn as a fresh linear layer, and "<name>.lora_b" [out, rank], zeros, so that the
  /// model is at first what it was. y += (alpha / rank) * (x·Aᵀ)·Bᵀ. An unknown name is an Error that lists those of
  /// the layer.
  void add_adapter(const std::string& name, int64_t rank, double alpha, uint64_t seed);

  ops::Settings& operations() { return operations_; }
  const ops::Settings& operations() const { return operations_; }

 private:
  struct Layer {
    Norm mixer_norm, mlp_norm;
    std::unique_ptr<Mixer> mixer;
    Mlp mlp;  // or none
  };

  void build(const WeightSource& source);
  /// Of what layers remember of a sequence beside the KV cache.
  int64_t state_bytes() const;
  /// How operations of a pass are carried out.
  ops::Settings settings_of(const Step& step) const;
  torch::Tensor run_layer(int64_t index, const torch::Tensor& hidden, const Step& step, PassTables& tables) const;
  /// The layer as one operation, where there is one for it; otherwise undefined.
  torch::Tensor run_fused(const Layer& layer, const torch::Tensor& hidden, const kernels::Reads& reads) const;
  ops::Weight& weight(const std::string& name);

  DecoderOptions options_;
  int64_t input_dims_;
  torch::Device device_;
  ops::Settings operations_;
  std::vector<NamedTensor> parameters_;
  ops::Weight read_in_, read_out_;  // of vectors
  torch::Tensor embedding_;         // of tokens, [vocabulary, token_width]
  ops::Weight token_in_, token_out_, head_;
  torch::Tensor position_;
  std::vector<Layer> layers_;
  Norm final_norm_, loop_norm_;
  std::unique_ptr<WholeRotaryTables> rotary_tables_ = std::make_unique<WholeRotaryTables>();
};

}  // namespace incontext::models
