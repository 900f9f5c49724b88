#include "train/objective.h"

#include <algorithm>

#include "base/file.h"
#include "models/checkpoint.h"
#include "models/language_folder.h"
#include "ops/next_token_loss.h"
#include "tensor/device.h"
#include "text/byte_tokenizer.h"

namespace incontext::train {
namespace {

namespace fs = std::filesystem;

class FunctionObjective : public Objective {
 public:
  explicit FunctionObjective(const RunOptions& options) : options_(options), task_(tasks::make_task(options.task)) {}

  int64_t input_dims() const override { return options_.task.dims; }

  std::vector<torch::Tensor> sample(uint64_t first, int64_t count, const Stage& stage) const override {
    const tasks::Batch batch = task_->sample(training_prompts(options_, first, count, stage), &tensor::kernel_pool());
    return {batch.xs, batch.ys};
  }
  torch::Tensor loss(const models::Decoder& decoder, const std::vector<torch::Tensor>& samples,
                     const Stage& stage) const override {
    return squared_error_objective(decoder, {.xs = samples[0], .ys = samples[1]},
                                   loop_range(stage.loops, options_.training.loop_window));
  }

  void save_model(const models::Decoder& decoder, const fs::path& folder) const override {
    models::save_model(decoder, folder, {{"run", base::options_to_json(options_)}});
  }
  void load_model(models::Decoder& decoder, const fs::path& folder) const override {
    models::load_parameters(decoder, folder);
  }
  const tasks::Task* functions() const override { return task_.get(); }

 private:
  RunOptions options_;
  std::unique_ptr<tasks::Task> task_;
};

class TextObjective : public Objective {
 public:
  explicit TextObjective(const RunOptions& options)
      : options_(options), text_(options.task.text, &tensor::kernel_pool()) {
    const int64_t tokens = text_.tokenizer().vocab_size();
    base::check(options.model.vocabulary >= tokens, "model.vocabulary: expected at least the {} tokens of {}, got {}",
                tokens, options.task.text.tokenizer, options.model.vocabulary);
  }

  int64_t input_dims() const override { return 0; }

  std::vector<torch::Tensor> sample(uint64_t first, int64_t count, const Stage&) const override {
    return {text_.sample(options_.seed, first, count)};
  }
  torch::Tensor loss(const models::Decoder& decoder, const std::vector<torch::Tensor>& samples,
                     const Stage&) const override {
    const NextTokens next = next_tokens(decoder, samples[0]);
    return ops::next_token_loss(decoder.operations(), next.hidden, decoder.head_weight(), next.targets);
  }

  // A folder that opens by itself: with its tokenizer.
  void save_model(const models::Decoder& decoder, const fs::path& folder) const override {
    const text::SpecialTokens& special = text_.tokenizer().special_tokens();
    models::save_language_folder(decoder, folder, {.bos_id = special.bos, .eos_id = special.eos});
    if (options_.task.text.tokenizer == "bytes") {
      base::write_file_atomic(folder / "tokenizer.json", text::byte_tokenizer_json());
      base::write_file_atomic(folder / "tokenizer_config.json", text::byte_tokenizer_config_json());
      return;
    }
    for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "tokenizer_config.json",
                             "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"}) {
      const fs::path source = fs::path(options_.task.text.tokenizer) / name;
      if (fs::exists(source)) base::write_file_atomic(folder / name, base::read_file(source));
    }
  }
  void load_model(models::Decoder& decoder, const fs::path& folder) const override {
    models::load_language_parameters(decoder, folder);
  }
  const tasks::PackedText* text() const override { return &text_; }

 private:
  RunOptions options_;
  tasks::PackedText text_;
};

}  // namespace

std::unique_ptr<Objective> make_objective(const RunOptions& options) {
  if (options.task.is_text()) return std::make_unique<TextObjective>(options);
  return std::make_unique<FunctionObjective>(options);
}

tasks::Draw training_prompts(const RunOptions& options, uint64_t first, int64_t count, const Stage& stage) {
  return {.seed = options.seed,
          .purpose = "train",
          .first_index = first,
          .batch = count,
          .points = stage.points,
          .active_dims = stage.dims};
}

models::LoopRange loop_range(int64_t budget, int64_t window) {
  return {.count = budget, .read_from = std::max<int64_t>(0, budget - window), .truncate = true};
}

torch::Tensor squared_error_objective(const models::Decoder& decoder, const tasks::Batch& batch,
                                      const models::LoopRange& loops) {
  if (batch.xs.is_cuda()) return (models::predict_reads(decoder, batch.xs, batch.ys, loops) - batch.ys).square().mean();
  torch::Tensor total;
  int64_t reads = 0;
  models::predict(decoder, batch.xs, batch.ys, loops, [&](int64_t, const torch::Tensor& prediction) {
    const torch::Tensor error = (prediction - batch.ys).square().mean();
    total = total.defined() ? total + error : error;
    ++reads;
  });
  return total / static_cast<double>(reads);
}

NextTokens next_tokens(const models::Decoder& decoder, const torch::Tensor& sequences) {
  const int64_t time = sequences.size(1) - 1;
  const torch::Tensor inputs = sequences.narrow(1, 0, time).contiguous();
  const torch::Tensor hidden = decoder.run_layers(decoder.embed(inputs), 0, decoder.options().layers);
  const torch::Tensor normed = decoder.final_norm(hidden).reshape({-1, decoder.options().width});
  return {.hidden = decoder.before_head(normed),
          .targets = sequences.narrow(1, 1, time).reshape({-1})};
}

}  // namespace incontext::train
