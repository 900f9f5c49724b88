#include "serve/token_routes.h"

#include "base/text.h"
#include "serve/chat_prompt.h"
#include "serve/completion_request.h"
#include "serve/fields.h"
#include "serve/request_error.h"
#include "text/utf8.h"

namespace incontext::serve {

using base::Json;

namespace {

std::vector<int64_t> tokens_of(const Json& body, const Backend& backend) {
  const Fields fields(body);
  if (fields.find("messages") != nullptr) {
    if (!backend.card().chat) refuse("messages", "messages: {}", backend.card().chat_problem);
    return chat_prompt(body, backend);
  }
  const char* name = fields.find("prompt") != nullptr ? "prompt" : "content";
  if (fields.find(name) == nullptr) refuse("content", "content: expected a text");
  std::string text;
  fields.read(name, text);
  bool special = true;
  fields.read("add_special", special);
  fields.read("add_special_tokens", special);
  return backend.encode(text, special);
}

}  // namespace

Json answer_tokenize(const Json& body, const Backend& backend) {
  check_model(body, backend);
  const std::vector<int64_t> tokens = tokens_of(body, backend);
  bool pieces = false;
  Fields(body).read("with_pieces", pieces);
  Json list = Json::array();
  for (const int64_t token : tokens) {
    if (!pieces) {
      list.push_back(token);
      continue;
    }
    const std::string bytes = backend.token_bytes(token);
    Json piece = bytes;
    if (!text::is_valid_utf8(bytes)) {
      piece = Json::array();
      for (const char c : bytes) piece.push_back(static_cast<unsigned char>(c));
    }
    list.push_back({{"id", token}, {"piece", std::move(piece)}});
  }
  return {{"tokens", std::move(list)}, {"count", tokens.size()}, {"max_model_len", backend.card().context}};
}

Json answer_detokenize(const Json& body, const Backend& backend) {
  check_model(body, backend);
  const Json* tokens = Fields(body).find("tokens");
  if (tokens == nullptr) refuse("tokens", "tokens: expected a list of token ids");
  const std::string text = backend.decode(token_list(*tokens, "tokens", backend.card().vocabulary));
  return {{"content", text}, {"prompt", text}};
}

Json answer_model(const std::string& name, const Backend& backend, int64_t created) {
  check_model({{"model", name}}, backend);
  return {{"id", name},
          {"object", "model"},
          {"created", created},
          {"owned_by", "incontext"},
          {"max_model_len", backend.card().context},
          {"caches", backend.card().caches},
          {"capabilities", {{"completions", true}, {"chat", backend.card().chat}}}};
}

Json answer_models(const Backend& backend, int64_t created) {
  Json data = Json::array();
  for (const std::string& name : backend.card().names) data.push_back(answer_model(name, backend, created));
  return {{"object", "list"}, {"data", std::move(data)}};
}

}  // namespace incontext::serve
