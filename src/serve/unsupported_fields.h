#pragma once

#include "base/config_node.h"

namespace incontext::serve {

/// Refuses, by name, every field that OpenAI's interface and its peers (vLLM, llama.cpp) know, that would change the
/// answer, and that is not carried out here (`chat`: on the route of chats); null and the values that leave the answer
/// as it is pass.
void refuse_unsupported(const base::Json& body, bool chat);

}  // namespace incontext::serve
