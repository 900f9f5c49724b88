#include "text/template_messages.h"

#include <array>

namespace incontext::text {

using base::Json;

namespace {

constexpr std::array kReasoning = {"reasoning_content", "thinking", "reasoning"};

bool is_list_of_texts(const Json& content) {
  if (!content.is_array()) return false;
  for (const Json& part : content) {
    if (!part.is_object() || part.value("type", Json("text")) != "text") return false;
    if (part.contains("text") && !part["text"].is_string() && !part["text"].is_null()) return false;
  }
  return true;
}

std::string joined(const Json& parts) {
  std::string text;
  for (const Json& part : parts) {
    if (part.contains("text") && part["text"].is_string()) text += part["text"].get_ref<const std::string&>();
  }
  return text;
}

// As transformers orders them, which a template that writes out a message shows.
Json with_reasoning(Json message) {
  for (const char* name : kReasoning) {
    if (!message.contains(name)) continue;
    const Json reasoning = message[name];
    Json out = Json::object();
    out["thinking"] = reasoning;
    out.update(message);
    out["reasoning_content"] = reasoning;
    return out;
  }
  return message;
}

Json prepare(const Json& message, const TakesParts& takes_parts) {
  if (!message.is_object()) return message;
  Json kept = Json::object();
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null() || key == "content") kept[key] = value;
  }
  if (kept.contains("content") && is_list_of_texts(kept["content"])) {
    const std::string role = kept.contains("role") && kept["role"].is_string() ? kept["role"].get<std::string>() : "";
    if (!takes_parts(role)) kept["content"] = joined(kept["content"]);
  }
  return with_reasoning(std::move(kept));
}

Json said(const std::string& role, Json content) { return {{"role", role}, {"content", std::move(content)}}; }

}  // namespace

Json prepare_messages(const Json& messages, const TakesParts& takes_parts) {
  if (!messages.is_array()) return messages;
  Json out = Json::array();
  for (const Json& message : messages) out.push_back(prepare(message, takes_parts));
  return out;
}

std::vector<Json> conversations_with_parts(const std::string& role, const std::string& first,
                                           const std::string& second) {
  const Json parts = Json::array({{{"type", "text"}, {"text", first}}, {{"type", "text"}, {"text", second}}});
  const Json question = said("user", "a"), asked_again = said("user", "b");
  if (role == "assistant") {
    return {Json::array({question, said(role, parts), asked_again}), Json::array({question, said(role, parts)})};
  }
  if (role == "system") return {Json::array({said(role, parts), question})};
  if (role == "tool") {
    const Json call = {
        {"id", "abcdefghi"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", Json::object()}}}};
    const Json calling = {{"role", "assistant"}, {"content", ""}, {"tool_calls", Json::array({call})}};
    Json result = said(role, parts);
    result["name"] = "f";
    result["tool_call_id"] = "abcdefghi";
    return {Json::array({question, calling, result})};
  }
  return {Json::array({said("user", parts)})};
}

}  // namespace incontext::text
