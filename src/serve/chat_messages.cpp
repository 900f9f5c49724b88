#include "serve/chat_messages.h"

#include "serve/fields.h"
#include "serve/request_error.h"

namespace incontext::serve {

using base::Json;

namespace {

Json text_of_parts(const Json& parts, const std::string& name) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string part_name = fmt::format("{}[{}]", name, i);
    if (!parts[i].is_object()) refuse(part_name, "{}: expected an object, got {}", part_name, shown(parts[i]));
    const Fields part(parts[i], part_name + ".");
    std::string type = "text", piece;
    part.read("type", type);
    if (type != "text") refuse(part_name + ".type", "{}.type: this model reads text only", part_name);
    part.read("text", piece);
    text += piece;
  }
  return text;
}

// `keys_left`: of all arguments of a request together.
void open_tool_calls(Json& message, const std::string& name, int64_t& keys_left) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || calls->is_null()) return;
  if (!calls->is_array()) refuse(name + ".tool_calls", "{}.tool_calls: expected a list", name);
  for (Json& call : *calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) continue;
    Json& function = call["function"];
    if (!function.contains("arguments") || !function["arguments"].is_string()) continue;
    const auto text = function["arguments"].get<std::string>();
    const std::string place = name + ".tool_calls";
    keys_left -= check_limits(text, place, place + ": 'arguments'", keys_left);
    Json arguments = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (arguments.is_object()) function["arguments"] = std::move(arguments);
  }
}

}  // namespace

Json chat_messages(const Json& messages) {
  if (!messages.is_array()) refuse("messages", "messages: expected a list, got {}", shown(messages));
  if (messages.empty()) refuse("messages", "messages: expected at least one message");
  Json read = messages;
  int64_t keys_left = kMostKeys;
  for (size_t i = 0; i < read.size(); ++i) {
    const std::string name = fmt::format("messages[{}]", i);
    Json& message = read[i];
    if (!message.is_object()) refuse(name, "{}: expected an object, got {}", name, shown(message));
    std::string role;
    Fields(message, name + ".").read("role", role);
    if (role.empty()) refuse(name + ".role", "{}.role: expected a role such as \"user\"", name);
    if (role == "developer") message["role"] = "system";
    Json content = message.contains("content") ? message["content"] : Json(nullptr);
    if (content.is_array()) {
      message["content"] = text_of_parts(content, name + ".content");
    } else if (content.is_null()) {
      if (!message.contains("tool_calls")) refuse(name + ".content", "{}.content: expected a string", name);
      message["content"] = "";
    } else if (!content.is_string()) {
      refuse(name + ".content", "{}.content: expected a string or a list of parts, got {}", name, shown(content));
    }
    open_tool_calls(message, name, keys_left);
  }
  return read;
}

Json chat_tools(const Json& body) {
  const Fields fields(body);
  const Json* tools = fields.find("tools");
  if (tools == nullptr) return nullptr;
  if (!tools->is_array()) refuse("tools", "tools: expected a list, got {}", shown(*tools));
  for (const Json& tool : *tools) {
    if (!tool.is_object()) refuse("tools", "tools: expected objects, got {}", shown(tool));
  }
  const Json* choice = fields.find("tool_choice");
  if (tools->empty() || (choice != nullptr && *choice == "none")) return nullptr;
  return *tools;
}

}  // namespace incontext::serve
