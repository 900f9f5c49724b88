#include "train/objectives/text.h"

#include <cmath>

#include "base/file.h"
#include "models/checkpoint_folders.h"
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
    record.setting = {{"task", base::name_of(options().task.name)}};
    write(std::move(record));
    return fmt::format("held-out loss {:.4f} (perplexity {:.4g})", loss, std::exp(loss));
  }

  std::vector<std::string> notes() const override { return text_.notes(); }

  // A folder that opens by itself: with its tokenizer. A model that was opened stays of its family, and keeps what its
  // config.json says.
  void save(const fs::path& folder) const override {
    models::LanguageFolderOptions written{.family = options().model.family};
    if (source_.empty()) {
      const text::SpecialTokens& special = text_.tokenizer().special_tokens();
      written.bos_id = special.bos;
      written.eos_id = special.eos;
      models::save_language_folder(decoder_, folder, written);
    } else {
      const models::WeightFiles files(source_);
      written.config = models::describe_language_folder(source_).json;
      written.source = &files;
      const fs::path generation = source_ / "generation_config.json";
      if (fs::exists(generation)) {
        base::write_file_atomic(folder / generation.filename(), base::read_file(generation));
      }
      models::save_language_folder(decoder_, folder, written);
    }
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

  void load(const fs::path& folder) override {
    Objective::load(folder);
    source_ = folder;
  }
  void load_initial(const fs::path& folder) override {
    Objective::load_initial(folder);
    source_ = folder;
  }

 private:
  models::Decoder& fresh_decoder(const ObjectiveBuild& build) {
    const int64_t tokens = text_.tokenizer().vocab_size();
    const RunOptions& run = build.options;
    base::check(run.model.tokens.vocabulary >= tokens,
                "model.tokens.vocabulary: expected at least the {} tokens of {}, got {}", tokens,
                run.task.text.tokenizer, run.model.tokens.vocabulary);
    return add_decoder("", {run.model, /*input_dims=*/0, run.seed, build.device});
  }

  tasks::PackedText text_;
  models::Decoder& decoder_;
  fs::path source_;  // the folder that the weights came from; empty: drawn
};

std::unique_ptr<Objective> make_text(const ObjectiveBuild& build) { return std::make_unique<Text>(build); }

// A run that begins with a model's weights begins with its options and its tokenizer, where it names none.
void begin_with_folder(RunOptions& options) {
  const bool nothing_said = base::options_to_json(options.model) == base::options_to_json(models::DecoderOptions());
  // A run that goes on has its options, and the folder may be gone.
  if (!nothing_said && !fs::exists(options.training.initial_weights)) return;
  const fs::path folder = models::model_folder_of(options.training.initial_weights);
  if (nothing_said) options.model = models::describe_language_folder(folder).options;
  tasks::TextOptions& text = options.task.text;
  const bool has_tokenizer = fs::exists(folder / "tokenizer.json") || fs::exists(folder / "tokenizer.model") ||
                             fs::exists(folder / "vocab.json");
  if (text.tokenizer == tasks::TextOptions().tokenizer && has_tokenizer) text.tokenizer = folder.string();
}

void resolve_text(RunOptions& options) {
  tasks::TextOptions& text = options.task.text;
  if (!options.training.initial_weights.empty()) begin_with_folder(options);
  text.resolve_paths();
  models::DecoderOptions& model = options.model;
  if (model.tokens.vocabulary == 0) model.tokens.vocabulary = tasks::open_text_tokenizer(text)->vocab_size();
  // A model that was opened keeps its own context.
  const bool opened = !options.training.initial_weights.empty() && !model.family.empty();
  if (!opened) model.max_positions = text.context;
  if (model.family.empty()) model.family = models::family_problem("llama", model).empty() ? "llama" : "incontext";
}

std::string text_problem(const RunOptions& options) {
  if (!options.task.is_text())
    return fmt::format("objective: text needs the task text, got {}", base::name_of(options.task.name));
  const CurriculumOptions& curriculum = options.training.curriculum;
  for (const Ramp* ramp : {&curriculum.dims, &curriculum.points, &curriculum.loops}) {
    if (ramp->start != 0 || ramp->end != 0) return "training.curriculum: the task text has none";
  }
  if (options.training.loop_window != 0) return "training.loop_window: the task text has no loops";
  if (!options.training.initial_weights.empty()) return "";
  return options.model.family.empty() ? "" : models::family_problem(options.model.family, options.model);
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
