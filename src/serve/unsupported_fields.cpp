#include "serve/unsupported_fields.h"

#include <algorithm>
#include <vector>

#include "serve/fields.h"
#include "serve/request_error.h"

namespace incontext::serve {

using base::Json;

namespace {

struct Unsupported {
  const char* name;
  const char* why;
  std::vector<Json> harmless = {};  // values that pass, beside null and empty lists and objects
};

const std::vector<Unsupported>& table() {
  static const char* const format = "the form of an answer cannot be forced";
  static const char* const one_method = "not a way of choosing tokens here";
  static const std::vector<Unsupported> all = {
      // OpenAI
      {"suffix", "inserting text is not supported", {""}},
      {"best_of", "only 1 is supported; ask for several choices with n", {1}},
      {"functions", "calls of functions are not read out of answers; tools are handed to the template"},
      {"function_call", "no function can be called", {"none", "auto"}},
      {"audio", "answers are text only"},
      {"modalities", "answers are text only", {Json::array({"text"})}},
      {"moderation", "nothing is moderated here"},
      {"web_search_options", "nothing is searched here"},
      {"verbosity", "the length of answers cannot be set; say it in a message", {"medium"}},
      // vLLM: how tokens are chosen
      {"use_beam_search", one_method, {false}},
      {"allowed_token_ids", one_method},
      {"bad_words", one_method},
      {"logits_processors", one_method},
      {"repetition_detection", one_method},
      {"thinking_token_budget", one_method},
      {"vllm_xargs", "extensions of another server"},
      // The prompt
      {"truncate_prompt_tokens", "prompts are not cut"},
      {"prompt_embeds", "prompts are text or token ids"},
      {"chat_template", "the template is the model's own"},
      // The answer
      {"prompt_logprobs", "ask /v1/completions for echo and logprobs"},
      {"return_tokens_as_token_ids", "tokens are told as text", {false}},
      {"return_token_ids", "tokens are told as text", {false}},
      {"include_reasoning", "reasoning is not told apart from the answer", {true}},
      {"structured_outputs", format},
      {"structural_tag", format},
      {"guided_json", format},
      {"guided_regex", format},
      {"guided_choice", format},
      {"guided_grammar", format},
      // Caches
      {"cache_salt", "requests share what they have in common; a server of its own keeps one apart"},
      {"kv_transfer_params", "caches stay here"},
      // llama.cpp
      {"grammar", format, {""}},
      {"json_schema", format},
      {"n_predict", "the name here is max_tokens"},
      {"mirostat", one_method, {0}},
      {"typical_p", one_method, {1}},
      {"xtc_probability", one_method, {0}},
      {"dry_multiplier", one_method, {0}},
      {"dynatemp_range", one_method, {0}},
  };
  return all;
}

void check_response_format(const Fields& fields) {
  const Json* format = fields.find("response_format");
  if (format == nullptr) return;
  std::string type;
  if (format->is_object()) Fields(*format, "response_format.").read("type", type);
  if (type != "text") refuse("response_format", "response_format: only {{\"type\": \"text\"}} is supported");
}

// Tools reach the template; whether the model calls one is its own choice.
void check_tools(const Fields& fields) {
  const Json* choice = fields.find("tool_choice");
  if (choice != nullptr && *choice != "none" && *choice != "auto") {
    refuse("tool_choice", "tool_choice: expected \"none\" or \"auto\", since no tool can be forced, got {}",
           shown(*choice));
  }
  bool parallel = true;
  fields.read("parallel_tool_calls", parallel);
  const Json* tools = fields.find("tools");
  const bool offered = tools != nullptr && !tools->empty() && (choice == nullptr || *choice != "none");
  if (!parallel && offered) refuse("parallel_tool_calls", "parallel_tool_calls: the number of calls cannot be limited");
}

void check_stream_options(const Fields& fields) {
  const Json* options = fields.find("stream_options");
  if (options == nullptr || !options->is_object()) return;
  bool always = false;
  Fields(*options, "stream_options.").read("continuous_usage_stats", always);
  if (always) {
    refuse("stream_options.continuous_usage_stats",
           "stream_options.continuous_usage_stats: usage is told once, at the end (include_usage)");
  }
}

}  // namespace

void refuse_unsupported(const Json& body, bool chat) {
  const Fields fields(body);
  check_response_format(fields);
  check_tools(fields);
  check_stream_options(fields);
  for (const Unsupported& field : table()) {
    const Json* value = fields.find(field.name);
    if (value == nullptr || (value->is_structured() && value->empty())) continue;
    if (std::find(field.harmless.begin(), field.harmless.end(), *value) != field.harmless.end()) continue;
    refuse(field.name, "{}: not supported, got {}: {}", field.name, shown(*value), field.why);
  }
  bool echo = false;
  if (chat) fields.read("echo", echo);
  if (echo) refuse("echo", "echo: only /v1/completions repeats its prompt");
}

}  // namespace incontext::serve
