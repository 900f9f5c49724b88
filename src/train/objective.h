#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "models/prompt_model.h"
#include "tasks/packed_text.h"
#include "tasks/task.h"
#include "tensor/torch.h"
#include "train/options.h"

namespace incontext::train {

/// What a run learns: how numbered samples become a loss, and how its model lies in a folder.
class Objective {
 public:
  virtual ~Objective() = default;

  /// Dimensions of the vectors that the model reads; 0: it reads tokens.
  virtual int64_t input_dims() const = 0;
  /// Training samples first … first + count - 1, in the processor's memory: tensors with a row for each sample, a pure
  /// function of the arguments.
  virtual std::vector<torch::Tensor> sample(uint64_t first, int64_t count, const Stage& stage) const = 0;
  /// Mean loss over samples (of sample(), on the model's device), a pure function of the weights and the arguments.
  virtual torch::Tensor loss(const models::Decoder& decoder, const std::vector<torch::Tensor>& samples,
                             const Stage& stage) const = 0;
  virtual void save_model(const models::Decoder& decoder, const std::filesystem::path& folder) const = 0;
  virtual void load_model(models::Decoder& decoder, const std::filesystem::path& folder) const = 0;

  /// The data behind it: one of the two.
  virtual const tasks::Task* functions() const { return nullptr; }
  virtual const tasks::PackedText* text() const { return nullptr; }
};

/// The objective that options.task asks for; resolved options.
std::unique_ptr<Objective> make_objective(const RunOptions& options);

/// The prompts behind training samples first … first + count - 1.
tasks::Draw training_prompts(const RunOptions& options, uint64_t first, int64_t count, const Stage& stage);

/// What the looped objective sees of a loop budget b: the loss averages the last T loops, and the loops before them run
/// without gradient (truncated back-propagation; Yang et al. 2024, section 4).
models::LoopRange loop_range(int64_t budget, int64_t window);

/// Mean over batch, points and read loops of (y_i - prediction_i)².
torch::Tensor squared_error_objective(const models::Decoder& decoder, const tasks::Batch& batch,
                                      const models::LoopRange& loops);

/// What of hidden states is left to do to predict tokens 1 … time of sequences [batch, time + 1] from those before
/// each: the rows that the head reads, [batch * time, width], and their targets, [batch * time].
struct NextTokens {
  torch::Tensor hidden, targets;
};
NextTokens next_tokens(const models::Decoder& decoder, const torch::Tensor& sequences);

}  // namespace incontext::train
