#include "train/objectives/text.h"

#include <cmath>

#include "base/file.h"
#include "models/language_folder.h"
#include "models/next_tokens.h"
#include "tasks/packed_text.h"
#include "tensor/device.h"
#include "text/byte_tokenizer.h"

namespace incontext::train {
namespace {

namespace fs = std::filesystem;

class Text : public Objective {
 public:
  explicit Text(const ObjectiveBuild& build)
      : Objective(build), text_(build.options.task.text, &tensor::kernel_pool()), decoder_(fresh_decoder(build)) {}

  Samples sample(uint64_t first, int64_t count, const Stage&) const override {
    return {{"tokens", text_.sample(options().seed, first, count)}};
  }

  Losses losses(const Samples& samples, const Stage&) const override {
    return {{.name = "next_token", .value = models::next_token_loss(decoder_, samples.at("tokens"))}};
  }

  std::string evaluate(const std::function<void(base::Record)>& write) const override {
    if (text_.held_out_sequences() == 0) return "";
    const TrainingOptions& training = options().training;
    const double loss =
        models::held_out_losses(decoder_, text_, training.evaluate_prompts, training.batch_size).mean().item<double>();
    base::Record record;
    record.what = "held_out_loss";
    record.value = loss;
    record.unit = "nats per token";
    record.setting = {{"task", options().task.name}};
    write(std::move(record));
    return fmt::format("held-out loss {:.4f} (perplexity {:.4g})", loss, std::exp(loss));
  }

  std::vector<std::string> notes() const override { return text_.notes(); }

  // A folder that opens by itself: with its tokenizer.
  void save(const fs::path& folder) const override {
    const text::SpecialTokens& special = text_.tokenizer().special_tokens();
    models::save_language_folder(decoder_, folder, {.bos_id = special.bos, .eos_id = special.eos});
    if (options().task.text.tokenizer == "bytes") {
      base::write_file_atomic(folder / "tokenizer.json", text::byte_tokenizer_json());
      base::write_file_atomic(folder / "tokenizer_config.json", text::byte_tokenizer_config_json());
      return;
    }
    for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "tokenizer_config.json",
                             "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"}) {
      const fs::path source = fs::path(options().task.text.tokenizer) / name;
      if (fs::exists(source)) base::write_file_atomic(folder / name, base::read_file(source));
    }
  }

 private:
  models::Decoder& fresh_decoder(const ObjectiveBuild& build) {
    const int64_t tokens = text_.tokenizer().vocab_size();
    const RunOptions& run = build.options;
    base::check(run.model.vocabulary >= tokens, "model.vocabulary: expected at least the {} tokens of {}, got {}",
                tokens, run.task.text.tokenizer, run.model.vocabulary);
    return add_decoder("", {run.model, /*input_dims=*/0, run.seed, build.device});
  }

  tasks::PackedText text_;
  models::Decoder& decoder_;
};

std::unique_ptr<Objective> make_text(const ObjectiveBuild& build) { return std::make_unique<Text>(build); }

void resolve_text(RunOptions& options) {
  tasks::TextOptions& text = options.task.text;
  text.resolve_paths();
  if (options.model.vocabulary == 0) options.model.vocabulary = tasks::open_text_tokenizer(text)->vocab_size();
  options.model.max_positions = text.context;
}

std::string text_problem(const RunOptions& options) {
  if (!options.task.is_text()) return fmt::format("objective: text needs the task text, got {}", options.task.name);
  const CurriculumOptions& curriculum = options.training.curriculum;
  for (const Ramp* ramp : {&curriculum.dims, &curriculum.points, &curriculum.loops}) {
    if (ramp->start != 0 || ramp->end != 0) return "training.curriculum: the task text has none";
  }
  if (options.training.loop_window != 0) return "training.loop_window: the task text has no loops";
  const std::string problem = models::family_problem("llama", options.model);
  return problem.empty() ? "" : problem + ", because a model of text is written as a Llama";
}

}  // namespace

ObjectiveKind text_objective() {
  return {.name = "text",
          .help = "the cross-entropy of the next token of packed documents",
          .make = make_text,
          .resolve = resolve_text,
          .problem = text_problem};
}

}  // namespace incontext::train
