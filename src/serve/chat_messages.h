#pragma once

#include "base/config_node.h"

namespace incontext::serve {

/// Checks the messages of a chat request and brings them to the form that chat templates know: "developer" as "system",
/// arguments of tool calls as objects, text parts with their type. (The rest is of text/template_messages.h.)
base::Json chat_messages(const base::Json& messages);

/// The list of tools for the template, or null.
base::Json chat_tools(const base::Json& body);

}  // namespace incontext::serve
