#include "base/error.h"
#include "text/tokenizer_parts.h"

namespace incontext::text {
namespace {

using base::check;

Bpe::Merges read_merges(const JsonField& field) {
  Bpe::Merges merges;
  // A hundred thousand of them: places are put into words only for an error.
  const SortedJson& list = field.value();
  if (!list.is_array()) field.fail_expecting("a list");
  merges.reserve(list.size());
  for (const SortedJson& item : list) {
    if (item.is_string()) {
      const auto& text = item.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
        merges.emplace_back(text.substr(0, space), text.substr(space + 1));
        continue;
      }
    } else if (item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string()) {
      merges.emplace_back(item[0].get<std::string>(), item[1].get<std::string>());
      continue;
    }
    JsonField(item, fmt::format("{}[{}]", field.where(), merges.size())).fail_expecting("two tokens");
  }
  return merges;
}

StringMap<int64_t> read_vocabulary(const JsonField& field) {
  if (!field.value().is_object()) field.fail_expecting("an object of tokens and ids");
  StringMap<int64_t> vocabulary;
  vocabulary.reserve(field.value().size());
  for (const auto& [token, id] : field.value().items()) {
    if (!id.is_number_integer()) JsonField(id, field.where() + "." + token).fail_expecting("an integer");
    vocabulary.emplace(token, id.get<int64_t>());
  }
  return vocabulary;
}

std::unique_ptr<const Bpe> read_bpe(const JsonField& field) {
  // The first files, of BPE only, did not say the type.
  const std::string type = field.text_or("type", "BPE");
  check(type == "BPE", "{}: the model '{}' is not supported, expected BPE", field.where(), type);
  if (const auto dropout = field.find("dropout")) {
    check(dropout->value().is_number() && dropout->value().get<double>() == 0,
          "{}: tokens that change from call to call are not supported, expected null or 0", dropout->where());
  }
  BpeOptions options;
  options.unknown_token = field.text_or("unk_token", "");
  options.continuing_subword_prefix = field.text_or("continuing_subword_prefix", "");
  options.end_of_word_suffix = field.text_or("end_of_word_suffix", "");
  options.fuse_unknown = field.flag_or("fuse_unk", false);
  options.byte_fallback = field.flag_or("byte_fallback", false);
  options.ignore_merges = field.flag_or("ignore_merges", false);
  return std::make_unique<Bpe>(read_vocabulary(field.at("vocab")), read_merges(field.at("merges")), std::move(options),
                               field.where());
}

}  // namespace

void read_tokenizer_json(const SortedJson& json, const std::string& where, TokenizerParts& parts) {
  const JsonField file(json, where);
  if (const auto field = file.find("normalizer")) parts.normalizer = make_normalizer(*field);
  if (const auto field = file.find("pre_tokenizer")) parts.pre_tokenizer = make_pre_tokenizer(*field);
  if (const auto field = file.find("post_processor")) parts.surrounding = read_post_processor(*field);
  if (const auto field = file.find("decoder")) parts.decoder = make_decoder(*field);

  auto bpe = read_bpe(file.at("model"));
  for (const auto& [token, id] : bpe->vocabulary()) parts.tokens.emplace(id, token);
  if (const auto list = file.find("added_tokens")) {
    for (const JsonField& field : list->items()) {
      AddedToken token = read_added_token(field, field.at("id").token_id());
      // A token that the model knows has the model's id.
      token.id = bpe->id_of(token.content).value_or(token.id);
      parts.added.add(std::move(token));
    }
  }
  parts.model = std::make_unique<BpeModel>(std::move(bpe));
}

}  // namespace incontext::text
