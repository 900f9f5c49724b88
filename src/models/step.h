#pragma once

#include <functional>
#include <vector>

#include "cache/sequence_state.h"
#include "kernels/reads.h"
#include "tensor/torch.h"

namespace incontext::models {

struct Boundary;

/// Called at layer boundaries with the residual stream, which it may read or replace, with gradients where the pass has
/// them.
using Hook = std::function<void(const Boundary& boundary, torch::Tensor& hidden)>;

/// One sequence's part in a step: its next `count` tokens, and what the model remembers of those before.
struct SequenceSlice {
  cache::SequenceState* state = nullptr;
  int64_t count = 0;
};

/// One pass over a batch: whole sequences without state, [batch, time, …], or the next tokens of some sequences, one
/// after the other, [tokens, …] ("ragged"), each with its own past.
struct Step {
  /// The sequences of a ragged batch; empty: whole sequences.
  std::vector<SequenceSlice> sequences = {};
  /// Called before every layer that runs, and after the last layer of the model.
  Hook hook = {};
  /// Whole sequences: the caller reads only these tokens of what leaves the last layer. That layer then skips queries,
  /// output projection and MLP at all other positions, and returns [batch, reads.count(time), width].
  kernels::Reads reads = {};
  /// Of a looped model the loop that runs, from 1; otherwise 0.
  int64_t loop = 0;

  bool ragged() const { return !sequences.empty(); }
  int64_t tokens() const {
    int64_t sum = 0;
    for (const SequenceSlice& slice : sequences) sum += slice.count;
    return sum;
  }
};

/// Where a hook stands, and whose rows it is given: [batch, tokens, width] of whole sequences, of which row (b, i) is
/// token reads.first + i * reads.every of sequence b; or [tokens, width] of a ragged step, of which each sequence's
/// rows are those of `slices`.
struct Boundary {
  struct Slice {
    int64_t first_row = 0, count = 0;
    int64_t first_position = 0;  // of its first row in the sequence
  };

  int64_t layer = 0;  // the layer that runs next; the number of layers after the last
  int64_t loop = 0;   // as in Step
  kernels::Reads reads = {};
  std::vector<Slice> slices = {};  // of a ragged step, in the order of Step::sequences
};

}  // namespace incontext::models
