#include "serve/completion_request.h"

#include <algorithm>
#include <charconv>
#include <random>

#include "base/exact_json.h"
#include "serve/chat_prompt.h"
#include "serve/fields.h"
#include "serve/request_error.h"
#include "serve/unsupported_fields.h"

namespace incontext::serve {

using base::Json;

namespace {

constexpr int64_t kMostLogprobs = 20;
constexpr size_t kMostStops = 16;
constexpr size_t kMostStopTokens = 1024;  // each is looked at with every token

std::vector<std::string> read_stop(const Fields& fields) {
  const Json* json = fields.find("stop");
  if (json == nullptr) return {};
  const Json list = json->is_array() ? *json : Json::array({*json});
  std::vector<std::string> stop;
  for (const Json& item : list) {
    if (!item.is_string()) refuse("stop", "stop: expected a string or a list of strings, got {}", shown(item));
    if (!item.get<std::string>().empty()) stop.push_back(item);
  }
  if (stop.size() > kMostStops) refuse("stop", "stop: expected at most {} strings, got {}", kMostStops, stop.size());
  return stop;
}

std::map<int64_t, double> read_logit_bias(const Fields& fields, int64_t vocabulary) {
  std::map<int64_t, double> bias;
  const Json* json = fields.find("logit_bias");
  if (json == nullptr) return bias;
  if (!json->is_object()) refuse("logit_bias", "logit_bias: expected an object, got {}", shown(*json));
  for (const auto& [key, value] : json->items()) {
    int64_t token = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size() || token < 0 || token >= vocabulary) {
      refuse("logit_bias", "logit_bias: expected token ids from 0 to {}, got {}", vocabulary - 1, shown(Json(key)));
    }
    Fields(*json, "logit_bias.").read(key, bias[token], base::between(-100, 100));
  }
  return bias;
}

// What both routes have alike.
ContinuationRequest read_common(const Json& body, const Backend& backend, const RequestLimits& limits,
                                CompletionRequest& request) {
  Json copy = body;
  if (copy.contains("top_k") && copy["top_k"] == -1) copy["top_k"] = 0;     // how others write "all"
  if (copy.contains("seed") && copy["seed"] == -1) copy["seed"] = nullptr;  // and "any"
  Fields fields(copy);
  refuse_unsupported(body, request.chat);
  ContinuationRequest common;
  common.sampling = backend.card().sampling;
  common.sampling.seed = std::random_device()();
  common.sampling.visit(fields);
  common.sampling.logit_bias = read_logit_bias(fields, backend.card().vocabulary);
  common.stop = read_stop(fields);
  fields.read("min_tokens", common.min_tokens, base::at_least(0));
  if (const Json* tokens = fields.find("stop_token_ids")) {
    common.stop_token_ids = token_list(*tokens, "stop_token_ids", backend.card().vocabulary);
    if (common.stop_token_ids.size() > kMostStopTokens) {
      refuse("stop_token_ids", "stop_token_ids: expected at most {} token ids, got {}", kMostStopTokens,
             common.stop_token_ids.size());
    }
  }
  fields.read("include_stop_str_in_output", common.include_stop);
  fields.read("skip_special_tokens", common.skip_special_tokens);
  fields.read("ignore_eos", common.ignore_eos);
  common.cache = backend.card().caches.front();
  fields.read("cache", common.cache);
  try {
    common.cache = backend.cache_policy(common.cache);
  } catch (const base::Error& error) {
    refuse("cache", "cache: {}", error.what());
  }
  fields.read("n", request.choices, base::between(1, static_cast<double>(limits.max_choices)));
  fields.read("stream", request.stream);
  if (const Json* options = fields.find("stream_options")) {
    if (!options->is_object()) refuse("stream_options", "stream_options: expected an object, got {}", shown(*options));
    if (!request.stream) refuse("stream_options", "stream_options: only with \"stream\": true");
    Fields(*options, "stream_options.").read("include_usage", request.include_usage);
  }
  return common;
}

// The most tokens a continuation of this prompt may have. `asked` is what the request says (-1: nothing), `usual` what
// it gets without.
int64_t token_limit(int64_t prompt, int64_t asked, const std::string& asked_name, int64_t usual,
                    const std::string& prompt_name, const Backend& backend, const RequestLimits& limits) {
  const int64_t context = backend.card().context;
  const int64_t least = asked == 0 ? 0 : 1;
  if (prompt + least > context) {
    throw RequestError(
        400,
        fmt::format("the prompt has {} tokens, and the model's context holds {}: shorten the prompt by at "
                    "least {} tokens",
                    prompt, context, prompt + least - context),
        prompt_name, "context_length_exceeded");
  }
  if (limits.max_tokens > 0 && asked > limits.max_tokens) {
    refuse(asked_name, "{}: expected at most {}, this server's limit, got {}", asked_name, limits.max_tokens, asked);
  }
  if (asked > context - prompt) {
    throw RequestError(
        400,
        fmt::format("the prompt has {} tokens and {} is {}: {} in all, and the model's context holds {}: "
                    "ask for at most {}",
                    prompt, asked_name, asked, static_cast<uint64_t>(prompt) + static_cast<uint64_t>(asked), context,
                    context - prompt),
        asked_name, "context_length_exceeded");
  }
  if (asked >= 0) return asked;
  const int64_t room = std::min(usual, context - prompt);
  return limits.max_tokens > 0 ? std::min(room, limits.max_tokens) : room;
}

void add_prompt(CompletionRequest& request, const ContinuationRequest& common, std::vector<int64_t> prompt,
                int64_t max_tokens, const RequestLimits& limits) {
  if (common.min_tokens > max_tokens) {
    refuse("min_tokens", "min_tokens: expected at most {}, the most tokens that this continuation may have, got {}",
           max_tokens, common.min_tokens);
  }
  ContinuationRequest one = common;
  one.prompt = std::move(prompt);
  one.max_tokens = max_tokens;
  for (int64_t i = 0; i < request.choices; ++i) {
    request.continuations.push_back(one);
    ++one.sampling.seed;  // the first choice is the one that n = 1 gives
  }
  if (static_cast<int64_t>(request.continuations.size()) > limits.max_choices) {
    refuse("prompt", "prompt: expected at most {} continuations in one request", limits.max_choices);
  }
}

// The prompts of /v1/completions: a string, token ids, or a list of either.
std::vector<Json> split_prompts(const Fields& fields) {
  const Json* prompt = fields.find("prompt");
  if (prompt == nullptr) refuse("prompt", "prompt: expected a string, a list of strings, or lists of token ids");
  if (prompt->is_string()) return {*prompt};
  if (!prompt->is_array()) refuse("prompt", "prompt: expected a string or a list, got {}", shown(*prompt));
  if (prompt->empty()) refuse("prompt", "prompt: expected at least one prompt, got an empty list");
  if (prompt->front().is_number() || base::big_integer_digits(prompt->front())) return {*prompt};
  return {prompt->begin(), prompt->end()};
}

}  // namespace

void check_model(const Json& body, const Backend& backend) {
  std::string model;
  Fields(body).read("model", model);
  const std::vector<std::string>& names = backend.card().names;
  if (model.empty() || std::find(names.begin(), names.end(), model) != names.end()) return;
  throw RequestError(
      404, fmt::format("model: there is no model {} here; this server has '{}'", shown(Json(model)), names.front()),
      "model", "model_not_found");
}

CompletionRequest read_chat_request(const Json& body, const Backend& backend, const RequestLimits& limits) {
  check_model(body, backend);
  CompletionRequest request;
  request.chat = true;
  ContinuationRequest common = read_common(body, backend, limits, request);
  const Fields fields(body);
  bool logprobs = false;
  fields.read("logprobs", logprobs);
  int64_t top = 0;
  fields.read("top_logprobs", top, base::between(0, static_cast<double>(kMostLogprobs)));
  if (top > 0 && !logprobs) refuse("top_logprobs", "top_logprobs: only with \"logprobs\": true");
  common.top_logprobs = logprobs ? top : -1;
  const std::string limit_name =
      fields.find("max_completion_tokens") != nullptr ? "max_completion_tokens" : "max_tokens";
  int64_t asked = -1;
  fields.read(limit_name, asked, base::at_least(1));

  if (!backend.card().chat) refuse("messages", "messages: {}; use /v1/completions", backend.card().chat_problem);
  std::vector<int64_t> prompt = chat_prompt(body, backend);
  if (prompt.empty()) refuse("messages", "messages: the chat template makes no prompt of them");
  const int64_t tokens = token_limit(static_cast<int64_t>(prompt.size()), asked, limit_name, limits.default_chat_tokens,
                                     "messages", backend, limits);
  add_prompt(request, common, std::move(prompt), tokens, limits);
  return request;
}

CompletionRequest read_completion_request(const Json& body, const Backend& backend, const RequestLimits& limits) {
  check_model(body, backend);
  CompletionRequest request;
  ContinuationRequest common = read_common(body, backend, limits, request);
  const Fields fields(body);
  fields.read("echo", request.echo);
  fields.read("logprobs", common.top_logprobs, base::between(0, static_cast<double>(kMostLogprobs)));
  common.prompt_logprobs = request.echo && common.top_logprobs >= 0;
  const std::string limit_name =
      fields.find("max_completion_tokens") != nullptr ? "max_completion_tokens" : "max_tokens";
  int64_t asked = -1;
  fields.read(limit_name, asked, base::at_least(0));
  bool add_special_tokens = true;
  fields.read("add_special_tokens", add_special_tokens);

  for (const Json& prompt : split_prompts(fields)) {
    std::vector<int64_t> tokens = prompt.is_string() ? backend.encode(prompt.get<std::string>(), add_special_tokens)
                                                     : token_list(prompt, "prompt", backend.card().vocabulary);
    if (tokens.empty()) refuse("prompt", "prompt: expected at least one token");
    const int64_t most =
        token_limit(static_cast<int64_t>(tokens.size()), asked, limit_name, 16, "prompt", backend, limits);
    if (request.echo) request.echoes.push_back(prompt.is_string() ? prompt.get<std::string>() : backend.decode(tokens));
    add_prompt(request, common, std::move(tokens), most, limits);
  }
  return request;
}

}  // namespace incontext::serve
