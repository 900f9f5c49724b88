#pragma once

#include <map>
#include <string>
#include <vector>

namespace incontext::base {

/// A choice with its options in one short string, as flags, configurations and HTTP fields write it: "full",
/// "full:bf16", "mamba:state=16,width=4".
struct Spec {
  std::string kind;
  std::vector<std::string> words = {};             // options without a value
  std::map<std::string, std::string> values = {};  // options with one

  /// The text that parse_spec() reads back.
  std::string text() const;
};

/// `what` names the kind of choice in errors, and `example` shows its form there. A text that has another form, and an
/// option that is given twice, are Errors that quote the text.
Spec parse_spec(const std::string& text, const std::string& what, const std::string& example);

}  // namespace incontext::base
