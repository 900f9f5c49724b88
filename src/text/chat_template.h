#pragma once

#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/config_node.h"
#include "base/error.h"

namespace incontext::text {

/// What a template says about a conversation it does not take (raise_exception): its message, on one line.
class TemplateRefusal : public base::Error {
 public:
  using base::Error::Error;
};

/// How the prompt for a conversation ends.
enum class ChatEnd {
  next_turn,     // with what begins the answer: add_generation_prompt
  last_message,  // with the last message
  open_message,  // inside the last message, which the answer continues: continue_final_message
};

/// A parsed chat template: the part of Jinja that chat templates use, with the meaning that transformers gives it.
/// Immutable and thread-safe. No template, however written, hangs or crashes: steps, output and nesting are bounded.
class ChatTemplate {
 public:
  /// A mistake, or a part of Jinja that is not supported, is an Error: "<name> line <n>: ...".
  explicit ChatTemplate(const std::string& source, std::string name = "chat template");
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  /// The prompt for a conversation. `messages` is a list of objects with "role" and "content" as the OpenAI interface
  /// has them, `tools` a list of tools or null. `variables` are further names the template sees (bos_token,
  /// enable_thinking, ...); what the template does not use does no harm. `now` is what strftime_now() tells; by default
  /// the current time. A fault in the template is an Error that names its line, raise_exception() a TemplateRefusal.
  std::string render(const base::Json& messages, const base::Json& tools, bool add_generation_prompt,
                     const base::Json& variables = base::Json::object(),
                     std::optional<std::time_t> now = std::nullopt) const;

  /// The same up to the end of what the last message says, for a model to go on with it. An Error where that message
  /// has no text, or the template does not show it.
  std::string render_open(const base::Json& messages, const base::Json& tools,
                          const base::Json& variables = base::Json::object(),
                          std::optional<std::time_t> now = std::nullopt) const;

  /// Messages of a client in the form that this template was written for, see prepare_messages(). What the template
  /// makes of lists of parts is found out by trying, once, with these variables: always give the same.
  base::Json prepared(const base::Json& messages, const base::Json& variables = base::Json::object()) const;

 private:
  bool takes_parts(const std::string& role, const base::Json& variables) const;

  struct Parsed;
  std::unique_ptr<const Parsed> parsed_;
};

/// The chat templates of a folder, and the names of special tokens that they use.
class ChatTemplates {
 public:
  /// Reads chat_template.jinja (with chat_templates/*.jinja or additional_chat_templates/*.jinja beside it), or else
  /// `chat_template` of chat_template.json or tokenizer_config.json: one template or a list of named ones. Nothing when
  /// there is none. A template that cannot be parsed is an Error.
  static std::optional<ChatTemplates> open(const std::filesystem::path& folder);

  /// Prepares the messages and renders with the template of this name; without one, with "tool_use" if there are tools
  /// and such a template, else with "default". An unknown name is an Error that lists the known ones.
  std::string render(const base::Json& messages, const base::Json& tools, bool add_generation_prompt,
                     const base::Json& variables = base::Json::object(), const std::string& name = "",
                     std::optional<std::time_t> now = std::nullopt) const;

  /// The prompt that ends as asked; the template is chosen as render() does without a name.
  std::string render_to(ChatEnd end, const base::Json& messages, const base::Json& tools,
                        const base::Json& variables = base::Json::object(),
                        std::optional<std::time_t> now = std::nullopt) const;

  std::vector<std::string> names() const;

 private:
  const ChatTemplate& choose(const std::string& name, const base::Json& tools) const;
  base::Json with_special_tokens(const base::Json& variables) const;

  std::map<std::string, ChatTemplate> templates_;
  base::Json special_tokens_ = base::Json::object();
};

}  // namespace incontext::text
