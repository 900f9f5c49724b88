#pragma once

#include <string>
#include <vector>

#include "base/config_node.h"
#include "serve/backend.h"

namespace incontext::serve {

/// What a server allows, and takes where a request is silent.
struct RequestLimits {
  int64_t max_tokens = 0;              // of one continuation; 0: what the context has room for
  int64_t default_chat_tokens = 1024;  // at most, of an answer in a chat
  int64_t max_choices = 128;           // continuations of one request
};

/// A request to either of the two routes that continue texts, read and checked.
struct CompletionRequest {
  bool chat = false;
  std::vector<ContinuationRequest> continuations;  // `choices` for each prompt in turn
  std::vector<std::string> echoes;                 // with echo: the text of each prompt
  int64_t choices = 1;
  bool echo = false;
  bool stream = false;
  bool include_usage = false;

  int64_t prompt_of(int64_t continuation) const { return continuation / choices; }
};

/// The model's name is looked at first: a name that `backend` does not have is a RequestError with status 404.
void check_model(const base::Json& body, const Backend& backend);

CompletionRequest read_chat_request(const base::Json& body, const Backend& backend, const RequestLimits& limits);
CompletionRequest read_completion_request(const base::Json& body, const Backend& backend, const RequestLimits& limits);

}  // namespace incontext::serve
