#pragma once

#include "base/config_node.h"
#include "serve/backend.h"

namespace incontext::serve {

/// POST /tokenize: {"content" or "prompt": text} or what chat_prompt() reads, {"add_special": true, "with_pieces":
/// false}.
base::Json answer_tokenize(const base::Json& body, const Backend& backend);

/// POST /detokenize: {"tokens": […]}.
base::Json answer_detokenize(const base::Json& body, const Backend& backend);

/// GET /v1/models; `created` in seconds since 1970.
base::Json answer_models(const Backend& backend, int64_t created);
/// GET /v1/models/NAME.
base::Json answer_model(const std::string& name, const Backend& backend, int64_t created);

}  // namespace incontext::serve
