#include <algorithm>

#include "base/error.h"
#include "text/tokenizer_parts.h"

namespace incontext::text {
namespace {

namespace fs = std::filesystem;

// The side files of a folder, empty objects where they are absent.
struct SideFiles {
  explicit SideFiles(const fs::path& folder)
      : config(read(folder / "tokenizer_config.json")),
        map(read(folder / "special_tokens_map.json")),
        added(read(folder / "added_tokens.json")),
        generation(read(folder / "generation_config.json")),
        model(read(folder / "config.json")),
        folder_(folder) {}

  JsonField field(const SortedJson& json, const char* name) const { return {json, (folder_ / name).string()}; }
  JsonField config_field() const { return field(config, "tokenizer_config.json"); }

  SortedJson config, map, added, generation, model;

 private:
  static SortedJson read(const fs::path& path) {
    if (!fs::exists(path)) return SortedJson::object();
    SortedJson json = read_json(path);
    if (!json.is_object()) JsonField(json, path.string()).fail_expecting("an object");
    return json;
  }

  fs::path folder_;
};

// A token is named by its text, or by an object with its flags.
std::optional<std::string> token_name(const JsonField& object, const std::string& key) {
  const auto found = object.find(key);
  if (!found) return std::nullopt;
  return found->value().is_object() ? found->text("content") : found->text();
}

std::optional<std::string> named_token(const SideFiles& files, const std::string& key) {
  if (auto name = token_name(files.config_field(), key)) return name;
  return token_name(files.field(files.map, "special_tokens_map.json"), key);
}

std::optional<int64_t> id_of(const TokenizerParts& parts, const std::string& token) {
  if (const AddedToken* added = parts.added.find(token)) return added->id;
  return parts.model->id_of(token);
}

int64_t id_from_key(const std::string& key, const JsonField& place) {
  int64_t id = 0;
  base::check(!key.empty(), "{}: expected ids as keys, got ''", place.where());
  for (const char c : key) {
    base::check(c >= '0' && c <= '9' && key.size() <= 9, "{}: expected ids as keys, got '{}'", place.where(), key);
    id = id * 10 + (c - '0');
  }
  return id;
}

// A token of the vocabulary that is named as special, by its text or by an object with its flags, is found whole in a
// text. One that the vocabulary does not hold is passed over: no model has a row for it.
void add_special(const JsonField& field, TokenizerParts& parts) {
  const bool described = field.value().is_object();
  const std::string name = described ? field.text("content") : field.text();
  if (parts.added.find(name) != nullptr) return;
  const auto id = parts.model->id_of(name);
  if (!id) return;
  AddedToken token;
  if (described) token = read_added_token(field, *id);
  token.id = *id;
  token.content = name;
  token.special = true;
  parts.added.add(std::move(token));
}

// All that a file names as special: "sep_token" and any other "..._token", and the lists of further ones.
void add_named(const JsonField& file, TokenizerParts& parts) {
  for (const auto& [key, value] : file.value().items()) {
    const JsonField field(value, file.where() + "." + key);
    const bool is_list = key == "additional_special_tokens" || key == "extra_special_tokens";
    if (key.ends_with("_token") && (value.is_string() || (value.is_object() && value.contains("content")))) {
      add_special(field, parts);
    } else if (is_list && value.is_array()) {
      for (const JsonField& item : field.items()) add_special(item, parts);
    } else if ((is_list || key == "model_specific_special_tokens") && value.is_object()) {
      for (const auto& [name, item] : value.items()) add_special(JsonField(item, field.where() + "." + name), parts);
    }
  }
}

// added_tokens_decoder says everything about added tokens, and overrides what the tokenizer's own file says.
void read_added_tokens(const SideFiles& files, bool has_own, TokenizerParts& parts) {
  if (const auto list = files.config_field().find("added_tokens_decoder")) {
    if (!list->value().is_object()) list->fail_expecting("an object");
    std::vector<AddedToken> tokens;
    for (const auto& [key, value] : list->value().items()) {
      const JsonField field(value, list->where() + "." + key);
      tokens.push_back(read_added_token(field, id_from_key(key, *list)));
    }
    std::sort(tokens.begin(), tokens.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
    for (AddedToken& token : tokens) parts.added.add(std::move(token));
  }
  if (!has_own) {
    for (const auto& [content, id] : files.added.items()) {
      if (parts.added.find(content) != nullptr) continue;
      AddedToken token;
      token.id = JsonField(id, "added_tokens.json: '" + content + "'").token_id();
      token.content = content;
      parts.added.add(std::move(token));
    }
  }
  add_named(files.config_field(), parts);
  // As in transformers the map is an older file's way to say it: beside a configuration that lists all added tokens it
  // is not looked at.
  if (!has_own || !files.config_field().find("added_tokens_decoder")) {
    add_named(files.field(files.map, "special_tokens_map.json"), parts);
  }
}

void append_ids(const JsonField& object, const std::string& key, std::vector<int64_t>& ids) {
  const auto found = object.find(key);
  if (!found) return;
  const auto add = [&](int64_t id) {
    if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  if (!found->value().is_array()) return add(found->integer());
  for (const JsonField& item : found->items()) add(item.integer());
}

std::optional<int64_t> special_id(const SideFiles& files, const TokenizerParts& parts, const std::string& token) {
  if (const auto name = named_token(files, token)) return id_of(parts, *name);
  // A file that says null means that there is none.
  if (files.config.contains(token)) return std::nullopt;
  std::vector<int64_t> ids;
  const std::string key = token + "_id";
  append_ids(files.field(files.generation, "generation_config.json"), key, ids);
  append_ids(files.field(files.model, "config.json"), key, ids);
  if (ids.empty()) return std::nullopt;
  return ids.front();
}

SpecialTokens read_special_tokens(const SideFiles& files, const TokenizerParts& parts) {
  SpecialTokens out;
  out.bos = special_id(files, parts, "bos_token");
  out.eos = special_id(files, parts, "eos_token");
  out.padding = special_id(files, parts, "pad_token");
  out.unknown = special_id(files, parts, "unk_token");
  append_ids(files.field(files.generation, "generation_config.json"), "eos_token_id", out.stops);
  append_ids(files.field(files.model, "config.json"), "eos_token_id", out.stops);
  if (out.eos && std::find(out.stops.begin(), out.stops.end(), *out.eos) == out.stops.end()) {
    out.stops.push_back(*out.eos);
  }
  return out;
}

// add_bos_token and add_eos_token. Beside a tokenizer.json they mean nothing, as in transformers: its post-processor
// says what surrounds a text.
void apply_flag(std::optional<bool> wanted, std::optional<int64_t> token, bool at_front, std::vector<int64_t>& ids) {
  if (!wanted || !token) return;
  const auto found = std::find(ids.begin(), ids.end(), *token);
  if (*wanted && found == ids.end()) ids.insert(at_front ? ids.begin() : ids.end(), *token);
  if (!*wanted && found != ids.end()) ids.erase(found);
}

std::optional<bool> stated_flag(const SideFiles& files, const std::string& key) {
  const auto found = files.config_field().find(key);
  if (!found) return std::nullopt;
  return found->flag();
}

bool is_gpt2_without_names(const SideFiles& files) {
  return !named_token(files, "bos_token") && !named_token(files, "eos_token");
}

}  // namespace

std::shared_ptr<const Tokenizer> Tokenizer::open(const fs::path& folder) {
  base::check(fs::is_directory(folder), "{}: expected a folder with a tokenizer", folder.string());
  const SideFiles files(folder);
  auto parts = std::make_unique<TokenizerParts>();
  const bool has_own = fs::exists(folder / "tokenizer.json");
  std::optional<bool> adds_bos = has_own ? std::nullopt : stated_flag(files, "add_bos_token");
  const std::optional<bool> adds_eos = has_own ? std::nullopt : stated_flag(files, "add_eos_token");
  bool gpt2_names = false;
  if (has_own) {
    read_tokenizer_json(read_json(folder / "tokenizer.json"), (folder / "tokenizer.json").string(), *parts);
  } else if (fs::exists(folder / "tokenizer.model")) {
    read_sentencepiece(folder / "tokenizer.model", files.config_field().flag_or("legacy", true), *parts);
    if (!adds_bos) adds_bos = true;
  } else if (fs::exists(folder / "vocab.json") && fs::exists(folder / "merges.txt")) {
    read_vocabulary_and_merges(folder, files.config_field().flag_or("add_prefix_space", false), *parts);
    gpt2_names = is_gpt2_without_names(files);
  } else {
    base::fail("{}: no tokenizer here, expected tokenizer.json, or tokenizer.model, or vocab.json and merges.txt",
               folder.string());
  }
  read_added_tokens(files, has_own, *parts);
  if (gpt2_names) {
    const SortedJson end = "<|endoftext|>";
    add_special(JsonField(end, "the token of GPT-2"), *parts);
  }
  parts->finish_added_tokens();

  parts->special = read_special_tokens(files, *parts);
  if (gpt2_names && !parts->special.eos) {
    parts->special.eos = id_of(*parts, "<|endoftext|>");
    if (parts->special.eos) parts->special.stops.push_back(*parts->special.eos);
  }
  if (!has_own && !parts->special.bos && parts->added.find("<s>") != nullptr &&
      fs::exists(folder / "tokenizer.model")) {
    parts->special.bos = id_of(*parts, "<s>");
    if (!parts->special.eos) parts->special.eos = id_of(*parts, "</s>");
  }
  apply_flag(adds_bos, parts->special.bos, true, parts->surrounding.before);
  apply_flag(adds_eos, parts->special.eos, false, parts->surrounding.after);
  return std::make_shared<const Tokenizer>(std::move(parts));
}

}  // namespace incontext::text
