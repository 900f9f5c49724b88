#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/config_node.h"

// How the messages of a conversation are brought to the form that chat templates were written for.

namespace incontext::text {

/// Whether a template goes through a list of parts in messages of this role, rather than expecting one text.
using TakesParts = std::function<bool(const std::string& role)>;

/// As transformers does before it renders: keys whose value is null are dropped (`content` alone stays null, for
/// templates that ask whether it is none), and reasoning stands under each of the names that templates know. A list of
/// text parts is joined where the template does not take parts.
base::Json prepare_messages(const base::Json& messages, const TakesParts& takes_parts);

/// Conversations to find out by what a template makes of two parts in a message of this role, of these texts: the first
/// that can be rendered tells. The roles are user, assistant, system and tool; all others are taken for user.
std::vector<base::Json> conversations_with_parts(const std::string& role, const std::string& first,
                                                 const std::string& second);

}  // namespace incontext::text
