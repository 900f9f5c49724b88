#pragma once

#include <string>

#include "base/config_node.h"
#include "models/families/family.h"

// What a config.json may hold. A key that changes what a model computes must not pass silently: each is one that the
// family's reader obeys, one that is known to change nothing, one that changes nothing with the value it has, or an
// Error.

namespace incontext::models {

/// `json` over the family's defaults, under the names that the family's config class has for its fields. Keys that are
/// neither obeyed nor harmless are Errors that name them.
base::Json with_defaults(const base::Json& json, const Family& family, const std::string& where);

/// Checks the keys of a block of rope parameters of one type.
void check_rope_keys(const base::Json& rope, const std::string& type, const std::string& where);

}  // namespace incontext::models
