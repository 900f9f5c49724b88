#include "serve/chat_messages.h"

#include "base/exact_json.h"
#include "base/text.h"
#include "serve/fields.h"
#include "serve/request_error.h"

namespace incontext::serve {

using base::Json;

namespace {

// The parts stay a list: whether the template goes through them is known where it is rendered.
Json read_parts(const Json& parts, const std::string& name) {
  Json read = Json::array();
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string part_name = fmt::format("{}[{}]", name, i);
    if (!parts[i].is_object()) refuse(part_name, "{}: expected an object, got {}", part_name, shown(parts[i]));
    const Fields part(parts[i], part_name + ".");
    std::string type = "text", piece;
    part.read("type", type);
    if (type != "text") refuse(part_name + ".type", "{}.type: this model reads text only", part_name);
    part.read("text", piece);
    Json one = {{"type", "text"}};
    one.update(parts[i]);
    one["type"] = "text";
    one["text"] = piece;
    read.push_back(std::move(one));
  }
  return read;
}

// The object that a template expects. What is no JSON object stays the text it is. `keys_left`: of all arguments of a
// request together.
Json open_arguments(const Json& arguments, const std::string& name, int64_t& keys_left) {
  if (arguments.is_null()) return Json::object();
  if (!arguments.is_string()) return arguments;
  const std::string text(base::trim(arguments.get_ref<const std::string&>()));
  if (text.empty() || text == "null") return Json::object();
  keys_left -= check_limits(text, name, name + ": 'arguments'", keys_left);
  try {
    Json opened = base::parse_exact_json(text);
    return opened.is_object() ? opened : arguments;
  } catch (const Json::exception&) {
    return arguments;
  }
}

void open_tool_calls(Json& message, const std::string& name, int64_t& keys_left) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || calls->is_null()) return;
  if (!calls->is_array()) refuse(name + ".tool_calls", "{}.tool_calls: expected a list", name);
  for (Json& call : *calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) continue;
    Json& function = call["function"];
    if (!function.contains("arguments")) continue;
    function["arguments"] = open_arguments(function["arguments"], name + ".tool_calls", keys_left);
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
    const Json content = message.contains("content") ? message["content"] : Json(nullptr);
    if (content.is_array()) {
      message["content"] = read_parts(content, name + ".content");
    } else if (content.is_null()) {
      // Turns that call tools say nothing; the official client writes null for what a model did not say.
      if (role != "assistant") refuse(name + ".content", "{}.content: expected a string", name);
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
