#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace incontext::hub {

/// A model of the hub: "org/name" (or an old "name" without an organisation) at a revision.
struct ModelName {
  std::string repository;
  std::string revision = "main";  // a branch, a tag, or a commit

  /// "org/name", followed by "@revision" unless that is main.
  std::string text() const;
};

/// Reads "org/name" or "org/name@revision". nullopt for anything that cannot be one, such as a path.
std::optional<ModelName> parse_model_name(std::string_view text);

/// Whether a name from outside stays below the folder it is joined to: no empty part, no "." or "..", no control
/// character, no backslash, and no part longer than file systems take.
bool is_safe_relative(std::string_view name);

/// Whether the text is a full commit: 40 hexadecimal digits in lower case.
bool is_commit(std::string_view text);

}  // namespace incontext::hub
