#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "decode/sampling.h"
#include "models/language_model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace incontext::decode {

/// What generation_config.json asks for.
struct GenerationDefaults {
  /// Temperature 0 unless the file says do_sample, as Hugging Face's generate() does.
  SamplingOptions sampling = {};
  std::vector<int64_t> stop_ids = {};  // every token that ends a turn, see end_tokens()
};

/// A Hugging Face folder, opened: what reads, computes and writes its texts.
struct OpenedModel {
  std::filesystem::path folder;
  std::unique_ptr<const models::LanguageModel> model;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::optional<text::ChatTemplates> chat;  // absent where the folder has none that can be read
  std::string chat_problem;                 // then: why not
  GenerationDefaults defaults;

  /// Ids from here on have no token: the model's table is padded, and they must never be chosen.
  int64_t sampled_tokens() const;
  /// Renders a conversation and encodes it; without a template an Error, chat_problem. `add_special_tokens`: those that
  /// surround a text, although templates write their own.
  std::vector<int64_t> encode_chat(const base::Json& messages, const base::Json& tools,
                                   const base::Json& variables = base::Json::object(),
                                   text::ChatEnd end = text::ChatEnd::next_turn, bool add_special_tokens = false) const;
  /// "a turn ends at <|im_end|> (2)", for the line that commands begin with.
  std::string describe_ends() const;
};

OpenedModel open_model(const std::filesystem::path& folder, const ops::Settings& operations = {});

}  // namespace incontext::decode
