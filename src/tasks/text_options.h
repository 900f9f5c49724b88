#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"

namespace incontext::tasks {

/// Documents for a language model, and how they become sequences of tokens.
struct TextOptions {
  std::vector<std::string> files;
  std::vector<std::string> held_out_files;
  double held_out_fraction = 0.05;
  std::string tokenizer = "bytes";
  int64_t context = 256;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field(
        "files", files,
        "files or folders to learn from: .txt or .md (one document each), .jsonl (one in the field \"text\" of every "
        "line), each also as .gz");
    v.field("held_out_files", held_out_files, "files or folders to measure on; empty: the end of `files`");
    v.field("held_out_fraction", held_out_fraction, "part of the tokens at the end of `files` that is held out",
            base::between(0, 0.9));
    v.field("tokenizer", tokenizer, "bytes, or a folder with a Hugging Face tokenizer");
    v.field("context", context, "tokens of a sequence", base::at_least(1));
  }

  /// Makes the paths absolute, so that a run can be continued and measured from any directory.
  void resolve_paths();
};

}  // namespace incontext::tasks
