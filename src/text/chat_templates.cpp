#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "text/chat_template.h"
#include "text/json_field.h"

namespace incontext::text {
namespace {

namespace fs = std::filesystem;

void add_named_files(const fs::path& folder, std::map<std::string, ChatTemplate>& templates) {
  if (!fs::is_directory(folder)) return;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".jinja" || base::is_hidden(entry.path())) continue;
    templates.emplace(entry.path().stem().string(), ChatTemplate(base::read_file(entry.path()), entry.path().string()));
  }
}

// One template, or a list of {"name", "template"}.
void add_from_json(const JsonField& field, std::map<std::string, ChatTemplate>& templates) {
  if (field.value().is_string()) {
    templates.emplace("default", ChatTemplate(field.text(), field.where()));
    return;
  }
  for (const JsonField& item : field.items()) {
    const std::string name = item.text("name");
    templates.emplace(name, ChatTemplate(item.text("template"), fmt::format("{} '{}'", field.where(), name)));
  }
}

SortedJson read_if_there(const fs::path& path) { return fs::exists(path) ? read_json(path) : SortedJson::object(); }

}  // namespace

std::optional<ChatTemplates> ChatTemplates::open(const fs::path& folder) {
  ChatTemplates out;
  const SortedJson config = read_if_there(folder / "tokenizer_config.json");
  const JsonField config_field(config, (folder / "tokenizer_config.json").string());
  if (fs::exists(folder / "chat_template.jinja")) {
    out.templates_.emplace("default", ChatTemplate(base::read_file(folder / "chat_template.jinja"),
                                                   (folder / "chat_template.jinja").string()));
    add_named_files(folder / "additional_chat_templates", out.templates_);
    add_named_files(folder / "chat_templates", out.templates_);
  } else {
    const SortedJson own = read_if_there(folder / "chat_template.json");
    const JsonField own_field(own, (folder / "chat_template.json").string());
    if (const auto field = own_field.find("chat_template")) {
      add_from_json(*field, out.templates_);
    } else if (const auto stored = config_field.find("chat_template")) {
      add_from_json(*stored, out.templates_);
    }
  }
  if (out.templates_.empty()) return std::nullopt;

  const SortedJson map = read_if_there(folder / "special_tokens_map.json");
  for (const SortedJson* source : {&map, &config}) {
    if (!source->is_object()) continue;
    for (const char* key :
         {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
      const auto found = source->find(key);
      if (found == source->end()) continue;
      if (found->is_string()) out.special_tokens_[key] = found->get<std::string>();
      if (found->is_object() && found->contains("content")) out.special_tokens_[key] = found->value("content", "");
    }
  }
  return out;
}

const ChatTemplate& ChatTemplates::choose(const std::string& name, const base::Json& tools) const {
  std::string wanted = name;
  if (wanted.empty()) wanted = !tools.is_null() && templates_.contains("tool_use") ? "tool_use" : "default";
  const auto found = templates_.find(wanted);
  base::check(found != templates_.end(), "there is no chat template '{}', expected one of {}", wanted,
              base::enumerate_names(names()));
  return found->second;
}

base::Json ChatTemplates::with_special_tokens(const base::Json& variables) const {
  base::Json all = special_tokens_;
  all.update(variables);
  return all;
}

std::string ChatTemplates::render(const base::Json& messages, const base::Json& tools, bool add_generation_prompt,
                                  const base::Json& variables, const std::string& name,
                                  std::optional<std::time_t> now) const {
  const ChatTemplate& chosen = choose(name, tools);
  const base::Json all = with_special_tokens(variables);
  return chosen.render(chosen.prepared(messages, special_tokens_), tools, add_generation_prompt, all, now);
}

std::string ChatTemplates::render_to(ChatEnd end, const base::Json& messages, const base::Json& tools,
                                     const base::Json& variables, std::optional<std::time_t> now) const {
  const ChatTemplate& chosen = choose("", tools);
  const base::Json all = with_special_tokens(variables);
  const base::Json prepared = chosen.prepared(messages, special_tokens_);
  if (end == ChatEnd::open_message) return chosen.render_open(prepared, tools, all, now);
  return chosen.render(prepared, tools, end == ChatEnd::next_turn, all, now);
}

std::vector<std::string> ChatTemplates::names() const {
  std::vector<std::string> out;
  for (const auto& [name, made] : templates_) out.push_back(name);
  return out;
}

}  // namespace incontext::text
