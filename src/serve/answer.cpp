#include "serve/answer.h"

#include <algorithm>
#include <cmath>
#include <ctime>

#include "serve/request_error.h"
#include "text/utf8.h"

namespace incontext::serve {

using base::Json;

namespace {

// JSON has no infinity.
double finite(double logprob) { return std::max(std::isnan(logprob) ? -9999.0 : logprob, -9999.0); }

// Characters that begin in these bytes: tokens may hold parts of some.
int64_t count_characters(const std::string& bytes) {
  return std::count_if(bytes.begin(), bytes.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

// Appends the items of `more` to the lists of the same names.
void extend(Json& logprobs, const Json& more) {
  if (more.is_null()) return;
  if (logprobs.is_null()) {
    logprobs = more;
    return;
  }
  for (const auto& [name, items] : more.items()) {
    if (!items.is_array()) continue;
    for (const Json& item : items) logprobs[name].push_back(item);
  }
}

}  // namespace

Answer::Answer(const CompletionRequest& request, const Backend& backend, const std::string& identity)
    : backend_(backend),
      id_((request.chat ? "chatcmpl-" : "cmpl-") + identity),
      created_(static_cast<int64_t>(std::time(nullptr))),
      chat_(request.chat),
      include_usage_(request.include_usage),
      per_prompt_(request.choices),
      top_logprobs_(request.continuations.front().top_logprobs),
      cache_policy_(request.continuations.front().cache),
      echoes_(request.echoes) {
  for (const ContinuationRequest& continuation : request.continuations) {
    Choice choice;
    choice.prompt_tokens = static_cast<int64_t>(continuation.prompt.size());
    if (continuation.prompt_logprobs) {
      first_tokens_.push_back(continuation.prompt.front());
      for (const int64_t token : continuation.prompt) {
        choice.prompt_characters += count_characters(backend.token_bytes(token));
      }
    }
    choices_.push_back(choice);
  }
}

std::string Answer::token_text(int64_t token) const {
  const std::string bytes = backend_.token_bytes(token);
  if (text::is_valid_utf8(bytes)) return bytes;
  std::string text = "bytes:";  // as OpenAI writes tokens that are no characters
  for (const char c : bytes) text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return text;
}

Json Answer::new_logprobs() const {
  if (top_logprobs_ < 0) return nullptr;
  if (chat_) return {{"content", Json::array()}, {"refusal", nullptr}};
  return {{"tokens", Json::array()},
          {"token_logprobs", Json::array()},
          {"top_logprobs", Json::array()},
          {"text_offset", Json::array()}};
}

void Answer::add_score(Json& logprobs, Choice& choice, const decode::Choice& score) const {
  if (logprobs.is_null()) return;
  if (chat_) {
    const auto entry = [&](int64_t token, double logprob) {
      Json bytes = Json::array();
      for (const char c : backend_.token_bytes(token)) bytes.push_back(static_cast<unsigned char>(c));
      return Json{{"token", token_text(token)}, {"logprob", finite(logprob)}, {"bytes", std::move(bytes)}};
    };
    Json item = entry(score.token, score.logprob);
    item["top_logprobs"] = Json::array();
    for (const decode::TokenLogprob& each : score.top) item["top_logprobs"].push_back(entry(each.token, each.logprob));
    logprobs["content"].push_back(std::move(item));
    return;
  }
  const std::string text = token_text(score.token);
  Json top = Json::object();
  for (const decode::TokenLogprob& each : score.top) {
    const std::string name = token_text(each.token);
    if (!top.contains(name)) top[name] = finite(each.logprob);  // the likelier of two with one text
  }
  if (!top.contains(text)) top[text] = finite(score.logprob);
  logprobs["tokens"].push_back(text);
  logprobs["token_logprobs"].push_back(finite(score.logprob));
  logprobs["top_logprobs"].push_back(top_logprobs_ > 0 ? std::move(top) : Json(nullptr));
  add_offset(logprobs, choice, score.token);
}

void Answer::add_first_prompt_token(Json& logprobs, Choice& choice) const {
  const auto index = static_cast<size_t>(&choice - choices_.data());
  const std::string text = token_text(first_tokens_[index]);
  logprobs["tokens"].push_back(text);
  logprobs["token_logprobs"].push_back(nullptr);  // nothing stands before it
  logprobs["top_logprobs"].push_back(nullptr);
  add_offset(logprobs, choice, first_tokens_[index]);
}

void Answer::add_offset(Json& logprobs, Choice& choice, int64_t token) const {
  logprobs["text_offset"].push_back(std::max<int64_t>(choice.offset, 0));
  choice.offset += count_characters(backend_.token_bytes(token));
}

Json Answer::head(const char* object) const {
  return {{"id", id_},
          {"object", object},
          {"created", created_},
          {"model", backend_.card().names.front()},
          {"system_fingerprint", backend_.card().fingerprint}};
}

Json Answer::chunk(size_t index, const std::string& text, const Json& logprobs, const Json& finish) const {
  Json json = head(chat_ ? "chat.completion.chunk" : "text_completion");
  Json choice = {{"index", index}};
  if (chat_) {
    choice["delta"] = finish.is_null() ? Json{{"content", text}} : Json::object();
  } else {
    choice["text"] = text;
  }
  choice["logprobs"] = logprobs;
  choice["finish_reason"] = finish;
  json["choices"] = Json::array({std::move(choice)});
  if (include_usage_) json["usage"] = nullptr;
  return json;
}

std::vector<Json> Answer::start() {
  std::vector<Json> chunks;
  for (size_t index = 0; index < choices_.size(); ++index) {
    Choice& choice = choices_[index];
    if (chat_) {
      chunks.push_back(chunk(index, "", nullptr, nullptr));
      chunks.back()["choices"][0]["delta"] = {{"role", "assistant"}, {"content", ""}};
    } else if (!echoes_.empty()) {
      choice.text = echoes_[index / static_cast<size_t>(per_prompt_)];
      if (!first_tokens_.empty()) {
        // Tokens that the text does not show, such as one that begins it, stand before its first character.
        choice.offset = count_characters(choice.text) - choice.prompt_characters;
        choice.logprobs = new_logprobs();
        add_first_prompt_token(choice.logprobs, choice);
      } else {
        choice.offset = count_characters(choice.text);
      }
      chunks.push_back(chunk(index, choice.text, choice.logprobs, nullptr));
    }
  }
  return chunks;
}

std::vector<Json> Answer::take(const ContinuationEvent& event) {
  const size_t index = event.continuation;
  Choice& choice = choices_[index];
  if (event.kind == ContinuationEvent::Kind::progress) {
    choice.reused = event.reused;
    return {};
  }
  if (event.kind == ContinuationEvent::Kind::cache) {
    choice.cache_bytes = event.cache_bytes;
    return {};
  }
  if (event.finish == Finish::error) {
    throw RequestError(500, event.error.empty() ? "the continuation failed" : event.error);
  }
  // Chats have scores of what they say alone.
  if (event.kind == ContinuationEvent::Kind::scores && chat_) return {};
  const bool scored = event.kind != ContinuationEvent::Kind::end;
  Json logprobs = scored ? new_logprobs() : Json(nullptr);
  for (const decode::Choice& score : event.scores) add_score(logprobs, choice, score);
  if (event.kind == ContinuationEvent::Kind::token) ++choice.generated;
  choice.text += event.text;
  extend(choice.logprobs, logprobs);
  std::vector<Json> chunks;
  if (!event.text.empty() || !logprobs.is_null()) chunks.push_back(chunk(index, event.text, logprobs, nullptr));
  if (event.kind == ContinuationEvent::Kind::end) {
    choice.finish_reason = event.finish == Finish::length ? "length" : "stop";
    chunks.push_back(chunk(index, "", nullptr, choice.finish_reason));
  }
  return chunks;
}

Json Answer::usage() const {
  int64_t prompt = 0, reused = 0, generated = 0, cached = 0;
  for (size_t index = 0; index < choices_.size(); ++index) {
    generated += choices_[index].generated;
    cached += choices_[index].cache_bytes;
    if (index % static_cast<size_t>(per_prompt_) != 0) continue;  // a prompt counts once
    prompt += choices_[index].prompt_tokens;
    reused += choices_[index].reused;
  }
  return {{"prompt_tokens", prompt},
          {"completion_tokens", generated},
          {"total_tokens", prompt + generated},
          {"prompt_tokens_details", {{"cached_tokens", reused}}},
          {"cache_policy", cache_policy_},
          {"cache_bytes", cached}};
}

std::vector<Json> Answer::finish() const {
  if (!include_usage_) return {};
  Json json = head(chat_ ? "chat.completion.chunk" : "text_completion");
  json["choices"] = Json::array();
  json["usage"] = usage();
  return {json};
}

Json Answer::whole() const {
  Json json = head(chat_ ? "chat.completion" : "text_completion");
  json["choices"] = Json::array();
  for (size_t index = 0; index < choices_.size(); ++index) {
    const Choice& choice = choices_[index];
    Json item = {{"index", index}};
    if (chat_) {
      item["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
    } else {
      item["text"] = choice.text;
    }
    item["logprobs"] = choice.logprobs;
    item["finish_reason"] = choice.finish_reason;
    json["choices"].push_back(std::move(item));
  }
  json["usage"] = usage();
  return json;
}

}  // namespace incontext::serve
