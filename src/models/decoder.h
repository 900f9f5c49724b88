#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cache/sequence_state.h"
#include "kernels/reads.h"
#include "models/decoder_options.h"
#include "ops/attention.h"
#include "ops/loop_border.h"
#include "ops/mlp.h"
#include "ops/rotary.h"
#include "ops/settings.h"
#include "tensor/torch.h"

namespace incontext::models {

struct NamedTensor {
  std::string name;
  torch::Tensor tensor;
};

/// One sequence's part in a step: its next `count` tokens, and what the model remembers of those before.
struct SequenceSlice {
  cache::SequenceState* state = nullptr;
  int64_t count = 0;
};

/// Cosine and sine of the angles of rotary positions, one row per token. Layers share them.
struct RotaryAngles {
  std::vector<int64_t> positions = {};
  torch::Tensor cosine = {}, sine = {};
};

/// One pass over a batch: whole sequences without state, [batch, time, …], or the next tokens of some sequences, one
/// after the other, [tokens, …] ("ragged"), each with its own past.
struct Step {
  /// The sequences of a ragged batch; empty: whole sequences.
  std::vector<SequenceSlice> sequences = {};
  /// Called at every border with the residual stream [batch, time, width]: with layer l before layer l runs, and with
  /// l = layers after the last. May look at it or replace it.
  std::function<void(int64_t layer, torch::Tensor& hidden)> at_border;
  /// The tokens that the caller reads of what leaves the last layer. That layer then skips queries, output projection
  /// and MLP at all others (queries, where reads are regular for `time`), and returns [batch, reads, width].
  kernels::Reads reads = {};
  /// The decoder's own, from one layer to the next.
  mutable RotaryAngles angles = {};
};

/// How a fresh parameter begins.
struct Init {
  enum class Kind { normal, uniform, constant } kind = Kind::constant;
  double value = 0;  // standard deviation, bound, or the constant
};

/// Where a decoder's parameters come from: called once for each, in a fixed order.
struct WeightSource {
  std::function<torch::Tensor(const std::string& name, torch::IntArrayRef shape, const Init& init)> get;
  /// Queries, keys and values as one matrix "attention.qkv" (what training wants), or as three.
  bool packed_qkv = true;
};

/// The one decoder: a stack of blocks built from DecoderOptions, with a linear read-in for vectors and a linear
/// read-out to a scalar, or a table of token embeddings and a head over the vocabulary. Parameters are named as in our
/// checkpoint. Those of a fresh decoder are fp32 leaves with gradients; those that come from files stay as they lie.
class Decoder {
 public:
  /// Weights are drawn from RandomStream(seed, "init:" + name), so that a model does not depend on what else is drawn.
  Decoder(const DecoderOptions& options, int64_t input_dims, uint64_t seed, torch::Device device);
  Decoder(const DecoderOptions& options, int64_t input_dims, const WeightSource& source, torch::Device device);

  // The seam: everything that uses a model uses these three.

  /// inputs [batch, time, input_dims], or token ids (int64) [batch, time] or, ragged, [tokens]
  /// -> hidden [batch, time, width] or [tokens, width].
  torch::Tensor embed(const torch::Tensor& inputs, const Step& step = {}) const;
  /// Runs layers first … last-1 on hidden [batch, time, width], or ragged on [tokens, width]; then the caches of the
  /// sequences take up the keys and values of those layers.
  torch::Tensor run_layers(torch::Tensor hidden, int64_t first, int64_t last, const Step& step = {}) const;
  /// Read-out of normalised hidden [..., width] -> [...], a scalar per token, or [..., vocabulary], logits.
  torch::Tensor head(const torch::Tensor& normed) const;
  /// The read-out of what a loop left and the injection for the next one, for models that read vectors and add.
  ops::LoopBorder loop_border(const torch::Tensor& iterate, const torch::Tensor& input) const;
  /// The head's matrix over the vocabulary, [vocabulary, token_width], for losses that multiply by it themselves.
  const torch::Tensor& head_weight() const { return head_; }

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
    std::vector<torch::Tensor> qkv, qkv_bias;  // one packed, or three; no biases: empty
    torch::Tensor query_norm, key_norm;        // [head_dim], or undefined
    torch::Tensor out, out_bias;
    ops::MlpWeights mlp;
  };

  void build(const WeightSource& source);
  torch::Tensor add(const WeightSource& source, const std::string& name, torch::IntArrayRef shape, const Init& init);
  Norm add_norm(const WeightSource& source, const std::string& name);
  void add_attention(const WeightSource& source, const std::string& prefix, Layer& layer);
  void add_mlp(const WeightSource& source, const std::string& prefix, Layer& layer);

  torch::Tensor run_layer(int64_t index, const torch::Tensor& hidden, const Step& step) const;
  /// Whether attention reads the packed projection as it is.
  bool plain_attention() const;
  torch::Tensor attend_whole(const Layer& layer, const torch::Tensor& normed, const Step& step,
                             const kernels::Reads& reads) const;
  ops::RotaryTables tables_of_whole(int64_t time, const Step& step) const;
  torch::Tensor apply_norm(const Norm& norm, const torch::Tensor& hidden) const;

  // Ragged steps (decoder_step.cpp).
  torch::Tensor embed_ragged(const torch::Tensor& tokens, const Step& step) const;
  torch::Tensor run_layer_ragged(int64_t index, const torch::Tensor& hidden, const Step& step) const;
  torch::Tensor attend_ragged(int64_t index, const torch::Tensor& normed, const Step& step) const;
  torch::Tensor mlp_ragged(const Layer& layer, const torch::Tensor& normed, const torch::Tensor& residual) const;
  void normalise_heads(torch::Tensor& qkv, int64_t first_head, int64_t heads, const torch::Tensor& gamma) const;
  const RotaryAngles& angles_of(int64_t layer, const Step& step) const;

  DecoderOptions options_;
  int64_t input_dims_;
  torch::Device device_;
  ops::Settings operations_;
  ops::AttentionHeads heads_;
  std::vector<NamedTensor> parameters_;
  torch::Tensor read_in_, read_in_bias_, read_out_, read_out_bias_;  // of vectors
  torch::Tensor embedding_, token_in_, token_out_, head_;            // of tokens
  torch::Tensor position_;
  std::vector<Layer> layers_;
  Norm final_norm_, loop_norm_;
};

}  // namespace incontext::models
