#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "text/tokenizer_parts.h"

namespace incontext::text {
namespace {

Bpe::Merges read_merges(const std::filesystem::path& path) {
  Bpe::Merges merges;
  size_t number = 0;
  for (std::string& line : base::split(base::read_file(path), '\n')) {
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;
    const std::vector<std::string> tokens = base::split(line, ' ');
    base::check(tokens.size() == 2 && !tokens[0].empty() && !tokens[1].empty(),
                "{}:{}: expected two tokens and a space between, got '{}'", path.string(), number,
                base::clip(base::printable(line), 60));
    merges.emplace_back(tokens[0], tokens[1]);
  }
  return merges;
}

}  // namespace

void read_vocabulary_and_merges(const std::filesystem::path& folder, bool add_prefix_space, TokenizerParts& parts) {
  const SortedJson json = read_json(folder / "vocab.json");
  const JsonField field(json, (folder / "vocab.json").string());
  if (!json.is_object()) field.fail_expecting("an object of tokens and ids");
  StringMap<int64_t> vocabulary;
  for (const auto& [token, id] : json.items()) {
    vocabulary.emplace(token, JsonField(id, field.where() + ": '" + token + "'").integer());
  }
  for (const auto& [token, id] : vocabulary) parts.tokens.emplace(id, token);
  parts.model = std::make_unique<BpeModel>(std::make_unique<Bpe>(
      std::move(vocabulary), read_merges(folder / "merges.txt"), BpeOptions{}, (folder / "merges.txt").string()));
  parts.pre_tokenizer = make_gpt2_pre_tokenizer(add_prefix_space);
  parts.decoder = make_byte_level_decoder();
}

}  // namespace incontext::text
