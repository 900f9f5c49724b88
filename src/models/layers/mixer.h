#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/registry.h"
#include "base/spec.h"
#include "models/decoder_options.h"
#include "models/layers/parameters.h"
#include "models/layers/rotary_tables.h"
#include "models/step.h"
#include "ops/attention.h"
#include "ops/norm.h"

namespace incontext::models {

/// What a mixer is given in one pass.
struct MixerInput {
  const ops::Settings& settings;
  const Step& step;
  /// Shared by the layers of the pass.
  PassTables& tables;
  /// normed [batch, time, width] or ragged [tokens, width]; residual likewise, or only the tokens of `reads`.
  const ops::Normed& x;
  /// Of whole sequences: only these tokens are wanted, [batch, reads.count(time), width].
  kernels::Reads reads = {};
};

/// The weights of an attention that the fused operation for a whole layer can carry out.
struct PlainAttention {
  const ops::Weight& qkv;
  const ops::Weight& out;
  ops::AttentionHeads heads;
};

/// The first branch of a layer, which lets tokens see each other. One forward serves whole sequences, with gradients,
/// and ragged steps, where each sequence brings what was remembered of its past.
class Mixer {
 public:
  virtual ~Mixer() = default;

  /// residual + mix(normed).
  virtual torch::Tensor forward(const MixerInput& input) const = 0;

  /// Whether it keeps keys and values of every token in the sequence's KV cache.
  virtual bool uses_cache() const { return false; }
  /// What it remembers of a sequence beside the KV cache, before the first token: named tensors, whose size does not
  /// depend on the sequence's length. In a ragged step they are input.step.sequences[i].state->layers[layer].
  virtual cache::LayerState initial_state() const { return {}; }

  virtual std::optional<PlainAttention> plain_attention() const { return std::nullopt; }
  /// The weights that take part in adapters and exports by name, relative to the layer, such as "attention.q".
  virtual std::vector<std::pair<std::string, ops::Weight*>> weights() { return {}; }
};

/// What a mixer is built from.
struct MixerBuild {
  const DecoderOptions& options;
  int64_t layer = 0;
  int64_t cache_layer = 0;  // its place in the KV cache, if it uses it
  std::string prefix;       // of its parameters' names: "layers.3."
  ParameterBuilder& parameters;
  base::Spec spec;  // its entry of model.mixers: the name and its options
};

struct MixerKind {
  std::string name;
  std::string help;
  std::unique_ptr<Mixer> (*make)(const MixerBuild& build) = nullptr;
};

/// The mixers that model.mixers can name. A new one is a file beside this and a row in mixers.cpp.
base::Registry<MixerKind>& mixers();

}  // namespace incontext::models
