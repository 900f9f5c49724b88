#pragma once

#include <map>
#include <mutex>
#include <optional>

#include "models/decoder_options.h"
#include "models/step.h"
#include "ops/rotary.h"

namespace incontext::models {

/// Cosines and sines for whole sequences, made once for each length: a GPU's recorded work must find them made.
class WholeRotaryTables {
 public:
  ops::RotaryTables get(const DecoderOptions& options, int64_t time, torch::Device device);

 private:
  std::mutex mutex_;
  std::map<int64_t, ops::RotaryTables> by_epoch_;
};

/// What the layers of one pass share.
class PassTables {
 public:
  PassTables(const DecoderOptions& options, const Step& step, const torch::Tensor& hidden, WholeRotaryTables& whole)
      : options_(options), step_(step), hidden_(hidden), whole_(whole) {}

  /// A row for each token of the pass: its position's angles, scaled as options.rope.scaling says. Made when first
  /// asked for.
  const ops::RotaryTables& rotary();

 private:
  ops::RotaryTables ragged_rotary() const;

  const DecoderOptions& options_;
  const Step& step_;
  const torch::Tensor hidden_;
  WholeRotaryTables& whole_;
  std::optional<ops::RotaryTables> rotary_;
};

/// Positions of the tokens of a ragged step: how many of its sequence each has before it.
std::vector<int64_t> positions_of(const Step& step);

}  // namespace incontext::models
