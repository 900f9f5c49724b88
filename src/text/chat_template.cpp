#include "text/chat_template.h"

#include "text/template_interpreter.h"
#include "text/template_syntax.h"
#include "text/utf8.h"

namespace incontext::text {

struct ChatTemplate::Parsed {
  std::string name;
  Block block;
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

}  // namespace incontext::text
