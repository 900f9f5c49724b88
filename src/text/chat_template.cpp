#include "text/chat_template.h"

#include <mutex>

#include "base/text.h"
#include "text/template_interpreter.h"
#include "text/template_messages.h"
#include "text/template_syntax.h"
#include "text/utf8.h"

namespace incontext::text {

struct ChatTemplate::Parsed {
  std::string name;
  Block block;
  // Roles whose parts the template goes through, as far as that was asked for.
  mutable std::mutex mutex;
  mutable std::map<std::string, bool> takes_parts;
};

ChatTemplate::ChatTemplate(const std::string& source, std::string name) {
  auto parsed = std::make_unique<Parsed>();
  parsed->name = std::move(name);
  constexpr size_t kMaxSource = size_t{4} << 20;
  base::check(source.size() <= kMaxSource, "{}: is longer than {} MiB", parsed->name, kMaxSource >> 20);
  parsed->block = parse_template(to_valid_utf8(source), parsed->name);
  parsed_ = std::move(parsed);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const base::Json& messages, const base::Json& tools, bool add_generation_prompt,
                                 const base::Json& variables, std::optional<std::time_t> now) const {
  TemplateVariables values;
  try {
    // As in transformers these are defined also where they are none.
    values["messages"] = value_from_json(messages);
    values["tools"] = value_from_json(tools);
    values["documents"] = None{};
    values["add_generation_prompt"] = add_generation_prompt;
    for (const auto& [key, value] : variables.items()) values.insert_or_assign(key, value_from_json(value));
  } catch (const TemplateFault& fault) {
    base::fail("{}: {}", parsed_->name, fault.message);
  }
  return run_template(parsed_->block, parsed_->name, std::move(values), now.value_or(std::time(nullptr)));
}

// As transformers does it: a mark behind the text shows where it ends in the prompt.
std::string ChatTemplate::render_open(const base::Json& messages, const base::Json& tools, const base::Json& variables,
                                      std::optional<std::time_t> now) const {
  const std::string mark = "CONTINUE_FINAL_MESSAGE_TAG ";
  const std::string_view bare_mark = base::trim(mark);
  base::Json conversation = messages;
  base::check(conversation.is_array() && !conversation.empty(), "there is no last message to continue");
  base::Json* last = conversation.back().contains("content") ? &conversation.back()["content"] : nullptr;
  if (last != nullptr && last->is_array()) {
    base::Json* text = nullptr;
    for (base::Json& part : *last) {
      if (part.is_object() && part.contains("text")) text = &part["text"];
    }
    last = text;
  }
  base::check(last != nullptr && last->is_string(), "the last message has no text to continue");
  const std::string said(base::trim(last->get_ref<const std::string&>()));
  *last = last->get<std::string>() + mark;
  std::string prompt = render(conversation, tools, /*add_generation_prompt=*/false, variables, now);
  const size_t end = prompt.rfind(bare_mark);
  base::check(end != std::string::npos && prompt.find(to_valid_utf8(said)) != std::string::npos,
              "{}: the last message cannot be continued: the template does not show it as it is", parsed_->name);
  const bool keeps_blanks = prompt.compare(end, mark.size(), mark) == 0;
  prompt.resize(end);
  // A template that trims what is said would have trimmed the blanks before the mark.
  if (!keeps_blanks) prompt.resize(prompt.find_last_not_of(" \t\n\r\f\v") + 1);
  return prompt;
}

base::Json ChatTemplate::prepared(const base::Json& messages, const base::Json& variables) const {
  return prepare_messages(messages, [&](const std::string& role) { return takes_parts(role, variables); });
}

bool ChatTemplate::takes_parts(const std::string& asked, const base::Json& variables) const {
  const bool known = asked == "assistant" || asked == "system" || asked == "tool";
  const std::string role = known ? asked : "user";
  {
    const std::lock_guard lock(parsed_->mutex);
    if (const auto found = parsed_->takes_parts.find(role); found != parsed_->takes_parts.end()) return found->second;
  }
  const std::string first = "first-of-2-parts", second = "second-of-2-parts";
  bool takes = false;
  for (const base::Json& conversation : conversations_with_parts(role, first, second)) {
    try {
      const std::string prompt =
          render(conversation, nullptr, /*add_generation_prompt=*/true, variables, std::time_t{0});
      // A template that writes its messages out shows the list itself.
      const bool written_out =
          prompt.find("'" + first) != std::string::npos || prompt.find("\"" + first) != std::string::npos;
      takes = !written_out && prompt.find(first) != std::string::npos && prompt.find(second) != std::string::npos;
      break;
    } catch (const base::Error&) {
    }
  }
  const std::lock_guard lock(parsed_->mutex);
  return parsed_->takes_parts.emplace(role, takes).first->second;
}

}  // namespace incontext::text
