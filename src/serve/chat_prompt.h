#pragma once

#include "base/config_node.h"
#include "serve/backend.h"

namespace incontext::serve {

/// The prompt that a request with "messages" asks for, as /v1/chat/completions and /tokenize read it: "messages",
/// "tools", "tool_choice", "documents", "reasoning_effort", "chat_template_kwargs", "add_generation_prompt",
/// "continue_final_message" and "add_special_tokens". A model without a template, and a template that does not take the
/// messages, are RequestErrors.
std::vector<int64_t> chat_prompt(const base::Json& body, const Backend& backend);

}  // namespace incontext::serve
