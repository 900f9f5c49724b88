#include "models/layers/rotary_tables.h"

#include "base/error.h"
#include "kernels/rope.h"
#include "models/rope_frequencies.h"
#include "tensor/device.h"

namespace incontext::models {
namespace {

using torch::Tensor;

// Rows first … first + count - 1 of `tables`.
void fill(const DecoderOptions& options, int64_t epoch, const std::vector<int64_t>& positions, int64_t first,
          int64_t count, const ops::RotaryTables& tables) {
  const RopeFrequencies frequencies = rope_frequencies(options, epoch);
  const int64_t pairs = tables.cosine.size(1);
  kernels::rope_table({.rows = count,
                       .rotary_dim = 2 * pairs,
                       .positions = positions.data() + first,
                       .inverse_frequencies = frequencies.inverse.data(),
                       .scale = frequencies.scale,
                       .cosine = tables.cosine.data_ptr<float>() + first * pairs,
                       .sine = tables.sine.data_ptr<float>() + first * pairs},
                      tensor::kernel_pool());
}

// The rope epoch of a sequence whose next tokens begin at `position`.
int64_t settle_epoch(const DecoderOptions& options, const SequenceSlice& slice, int64_t position) {
  const int64_t reached = rope_epoch(options, position + slice.count);
  std::optional<int64_t>& epoch = slice.state->rope_epoch;
  if (!epoch) {
    base::check(position == 0 || reached == 0,
                "a sequence of {} tokens came without the rope epoch that its keys were computed with", position);
    epoch = reached;
  }
  base::check(reached <= *epoch,
              "a sequence of {} tokens has outgrown the rotary factors of its cached keys: compute it again",
              position + slice.count);
  return *epoch;
}

}  // namespace

std::vector<int64_t> positions_of(const Step& step) {
  std::vector<int64_t> positions;
  for (const SequenceSlice& slice : step.sequences) {
    for (int64_t i = 0; i < slice.count; ++i) positions.push_back(slice.state->position() + i);
  }
  return positions;
}

ops::RotaryTables WholeRotaryTables::get(const DecoderOptions& options, int64_t time, torch::Device device) {
  const std::lock_guard lock(mutex_);
  const int64_t epoch = rope_epoch(options, time);
  ops::RotaryTables& tables = by_epoch_[epoch];
  if (!tables.cosine.defined() || tables.cosine.size(0) < time || tables.cosine.device() != device) {
    const RopeFrequencies frequencies = rope_frequencies(options, epoch);
    tables = ops::rotary_tables(frequencies.inverse, frequencies.scale, 0, time, device);
  }
  return {tables.cosine.narrow(0, 0, time), tables.sine.narrow(0, 0, time)};
}

ops::RotaryTables PassTables::ragged_rotary() const {
  const std::vector<int64_t> positions = positions_of(step_);
  const auto rows = static_cast<int64_t>(positions.size());
  const int64_t pairs = options_.rotary_dim() / 2;
  const ops::RotaryTables tables{torch::empty({rows, pairs}, torch::kFloat32),
                                 torch::empty({rows, pairs}, torch::kFloat32)};
  int64_t first = 0;
  for (const SequenceSlice& slice : step_.sequences) {
    fill(options_, settle_epoch(options_, slice, slice.state->position()), positions, first, slice.count, tables);
    first += slice.count;
  }
  return tables;
}

const ops::RotaryTables& PassTables::rotary() {
  if (!rotary_) {
    rotary_ = step_.ragged() ? ragged_rotary() : whole_.get(options_, hidden_.size(1), hidden_.device());
  }
  return *rotary_;
}

}  // namespace incontext::models
