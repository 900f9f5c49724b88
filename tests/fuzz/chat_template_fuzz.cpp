// Input, with zero bytes between: a template and, where not the usual ones are wanted, an object of variables as JSON.
#include "base/config_node.h"
#include "fuzz/input.h"
#include "text/template_interpreter.h"
#include "text/template_syntax.h"
#include "text/utf8.h"

using namespace incontext;

namespace {

// A small part of what templates may really take, so that no input takes long unless it takes what it is not charged
// for.
constexpr size_t kSteps = 20'000;

constexpr const char* kVariables = R"({
  "messages": [{"role": "system", "content": " Be brief.\n"}, {"role": "user", "content": "Hello <b>wörld</b>"},
    {"role": "assistant", "content": null, "tool_calls": [
      {"id": "call_123", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [2.5, true, null]}}}]},
    {"role": "tool", "tool_call_id": "call_123", "name": "add", "content": "3.5"},
    {"role": "assistant", "content": "<think>hm</think>\n\n3.5"}, {"role": "user", "content": "Thanks"}],
  "tools": [{"type": "function", "function": {"name": "add", "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer", "description": "one"}}, "required": ["a"]}}}],
  "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})";

text::TemplateVariables variables(const std::string& given) {
  static const base::Json usual = base::Json::parse(kVariables);
  base::Json json = base::Json::parse(given, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) json = usual;
  text::TemplateVariables values;
  for (const auto& [key, value] : json.items()) values.insert_or_assign(key, text::value_from_json(value));
  return values;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  testing::InputParts parts(data, size);
  const std::string source = text::to_valid_utf8(parts.next());
  try {
    const text::Block block = text::parse_template(source, "template");
    const std::string prompt = text::run_template(block, "template", variables(parts.next()), 0, kSteps);
    INCONTEXT_ASSERT(text::is_valid_utf8(prompt));
  } catch (const base::Error& error) {
    testing::check_message(error);
  } catch (const text::TemplateFault&) {  // of variables that nest too deeply
  }
  return 0;
}
