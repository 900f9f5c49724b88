#include "decode/opened_model.h"

#include <algorithm>

#include "base/error.h"
#include "decode/end_tokens.h"
#include "models/json_fields.h"

namespace incontext::decode {

namespace fs = std::filesystem;
using base::Json;

namespace {

// Of generation_config.json where it exists; otherwise greedy.
GenerationDefaults read_generation_defaults(const fs::path& folder) {
  GenerationDefaults defaults;
  defaults.sampling.temperature = 0;
  const fs::path path = folder / "generation_config.json";
  if (!fs::exists(path)) return defaults;
  const Json json = models::read_json(path);
  const models::JsonFields fields(json, path.string());
  SamplingOptions& sampling = defaults.sampling;
  sampling.repetition_penalty = fields.number("repetition_penalty", 1);
  if (!fields.boolean("do_sample", false)) return defaults;
  sampling.temperature = fields.number("temperature", 1);
  sampling.top_k = fields.integer("top_k", 50);  // what transformers takes where the file is silent
  sampling.top_p = fields.number("top_p", 1);
  sampling.min_p = fields.number("min_p", 0);
  return defaults;
}

}  // namespace

int64_t OpenedModel::sampled_tokens() const {
  return std::min(tokenizer->vocab_size(), model->config().options.tokens.vocabulary);
}

std::vector<int64_t> OpenedModel::encode_chat(const Json& messages, const Json& tools, const Json& variables,
                                              text::ChatEnd end, bool add_special_tokens) const {
  base::check(chat.has_value(), "{}", chat_problem);
  return tokenizer->encode(chat->render_to(end, messages, tools, variables), add_special_tokens);
}

std::string OpenedModel::describe_ends() const {
  if (defaults.stop_ids.empty()) return "no token is named that ends a turn";
  return "a turn ends at " + describe_tokens(*tokenizer, defaults.stop_ids);
}

OpenedModel open_model(const fs::path& folder, const ops::Settings& operations) {
  OpenedModel opened;
  opened.folder = folder;
  opened.model = std::make_unique<models::LanguageModel>(folder, torch::kCPU, operations);
  opened.tokenizer = text::Tokenizer::open(folder);
  // A template that cannot be read is in the way of chats alone.
  try {
    opened.chat = text::ChatTemplates::open(folder);
    opened.chat_problem = fmt::format(
        "{}: the model has no chat template; expected chat_template in tokenizer_config.json", folder.string());
  } catch (const base::Error& error) {
    opened.chat_problem = error.what();
  }
  opened.defaults = read_generation_defaults(folder);
  opened.defaults.stop_ids = end_tokens(*opened.tokenizer, opened.model->config().eos_ids);
  return opened;
}

}  // namespace incontext::decode
