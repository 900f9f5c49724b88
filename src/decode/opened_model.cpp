#include "decode/opened_model.h"

#include <algorithm>

#include "base/error.h"
#include "models/json_fields.h"

namespace incontext::decode {

namespace fs = std::filesystem;
using base::Json;

GenerationDefaults read_generation_defaults(const fs::path& folder, const std::vector<int64_t>& eos_ids) {
  GenerationDefaults defaults;
  defaults.sampling.temperature = 0;
  defaults.stop_ids = eos_ids;
  const fs::path path = folder / "generation_config.json";
  if (!fs::exists(path)) return defaults;
  const Json json = models::read_json(path);
  const models::JsonFields fields(json, path.string());
  if (fields.has("eos_token_id")) defaults.stop_ids = fields.integers("eos_token_id");
  SamplingOptions& sampling = defaults.sampling;
  sampling.repetition_penalty = fields.number("repetition_penalty", 1);
  if (!fields.boolean("do_sample", false)) return defaults;
  sampling.temperature = fields.number("temperature", 1);
  sampling.top_k = fields.integer("top_k", 50);  // what transformers takes where the file is silent
  sampling.top_p = fields.number("top_p", 1);
  sampling.min_p = fields.number("min_p", 0);
  return defaults;
}

int64_t OpenedModel::sampled_tokens() const {
  return std::min(tokenizer->vocab_size(), model->config().options.vocabulary);
}

std::vector<int64_t> OpenedModel::encode_chat(const Json& messages, const Json& tools, const Json& variables) const {
  base::check(chat.has_value(), "{}", chat_problem);
  // The template writes the special tokens itself.
  return tokenizer->encode(chat->render(messages, tools, /*add_generation_prompt=*/true, variables),
                           /*add_special_tokens=*/false);
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
  std::vector<int64_t> stops = opened.model->config().eos_ids;
  const std::optional<int64_t> eos = opened.tokenizer->special_tokens().eos;
  if (stops.empty() && eos) stops = {*eos};
  opened.defaults = read_generation_defaults(folder, stops);
  return opened;
}

}  // namespace incontext::decode
