#include "serve/chat_prompt.h"

#include "base/text.h"
#include "serve/chat_messages.h"
#include "serve/fields.h"
#include "serve/request_error.h"

namespace incontext::serve {

using base::Json;

namespace {

// Names that the template sees.
Json read_variables(const Fields& fields) {
  Json variables = Json::object();
  if (const Json* documents = fields.find("documents")) {
    bool objects = documents->is_array();
    for (const Json& document : *documents) objects = objects && document.is_object();
    if (!objects) refuse("documents", "documents: expected a list of objects, got {}", shown(*documents));
    variables["documents"] = *documents;
  }
  if (fields.find("reasoning_effort") != nullptr) {
    std::string effort;
    fields.read("reasoning_effort", effort);
    variables["reasoning_effort"] = effort;
  }
  const Json* more = fields.find("chat_template_kwargs");
  if (more == nullptr) return variables;
  if (!more->is_object()) {
    refuse("chat_template_kwargs", "chat_template_kwargs: expected an object, got {}", shown(*more));
  }
  for (const auto& [name, value] : more->items()) variables[name] = value;
  return variables;
}

text::ChatEnd read_end(const Fields& fields) {
  bool next_turn = true, open = false;
  fields.read("add_generation_prompt", next_turn);
  fields.read("continue_final_message", open);
  if (!open) return next_turn ? text::ChatEnd::next_turn : text::ChatEnd::last_message;
  if (next_turn && fields.find("add_generation_prompt") != nullptr) {
    refuse("continue_final_message",
           "continue_final_message: the last message is either continued or followed by an "
           "answer (add_generation_prompt)");
  }
  return text::ChatEnd::open_message;
}

}  // namespace

std::vector<int64_t> chat_prompt(const Json& body, const Backend& backend) {
  const Fields fields(body);
  const Json* messages = fields.find("messages");
  if (messages == nullptr) refuse("messages", "messages: expected a list of messages");
  ChatPrompt prompt{.messages = chat_messages(*messages),
                    .tools = chat_tools(body),
                    .variables = read_variables(fields),
                    .end = read_end(fields)};
  fields.read("add_special_tokens", prompt.add_special_tokens);
  try {
    return backend.encode_chat(prompt);
  } catch (const base::Error& error) {
    throw RequestError(400, base::printable(error.what()), "messages", "template_error");
  }
}

}  // namespace incontext::serve
