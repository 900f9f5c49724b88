#include "decode/end_tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace incontext::decode {
namespace {

// As the families write them: ChatML, Llama 3, Phi-3 and Zephyr's heirs, Gemma, Granite and GPT-NeoX, DeepSeek,
// SmolVLM and Idefics, Command R, Falcon, GPT-OSS, Solar and older code models.
constexpr const char* kEndsOfTurns[] = {"<|im_end|>",
                                        "<|eot_id|>",
                                        "<|eom_id|>",
                                        "<|end|>",
                                        "<|endoftext|>",
                                        "<|end_of_text|>",
                                        "<|end_of_turn|>",
                                        "<end_of_turn>",
                                        "<turn|>",
                                        "<end_of_utterance>",
                                        "<|END_OF_TURN_TOKEN|>",
                                        "<\uff5cend\u2581of\u2581sentence\uff5c>",
                                        "<|return|>",
                                        "<|call|>",
                                        "<EOT>",
                                        "<|eot|>"};

bool holds(const std::vector<int64_t>& ids, int64_t id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); }

}  // namespace

std::vector<int64_t> end_tokens(const text::Tokenizer& tokenizer, const std::vector<int64_t>& model_ids) {
  std::vector<int64_t> ids;
  const auto add = [&](int64_t id) {
    if (id >= 0 && !holds(ids, id)) ids.push_back(id);
  };
  for (const int64_t id : tokenizer.special_tokens().stops) add(id);
  for (const int64_t id : model_ids) add(id);
  if (tokenizer.special_tokens().eos) add(*tokenizer.special_tokens().eos);
  // What GPT-OSS ends the parts of a turn with.
  const bool parts = tokenizer.token_to_id("<|return|>").has_value() && tokenizer.token_to_id("<|call|>").has_value();
  for (const std::string name : kEndsOfTurns) {
    const std::optional<int64_t> id = tokenizer.token_to_id(name);
    // Elsewhere the same characters may be an ordinary word.
    if (id && tokenizer.is_special(*id) && !(parts && name == "<|end|>")) add(*id);
  }
  return ids;
}

std::string describe_tokens(const text::Tokenizer& tokenizer, const std::vector<int64_t>& ids) {
  std::vector<std::string> names;
  names.reserve(ids.size());
  for (const int64_t id : ids) {
    names.push_back(fmt::format("{} ({})", base::printable(tokenizer.id_to_token(id).value_or("no token")), id));
  }
  return base::enumerate_names(names);
}

}  // namespace incontext::decode
