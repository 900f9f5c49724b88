#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace incontext::eval {

/// What `incontext eval MODEL --cache POLICY …` measures.
struct CacheEvaluationOptions {
  std::vector<std::string> policies = {};
  std::vector<std::string> texts = {};          // files; the documents of `language` and `free` are cut from them
  std::vector<int64_t> contexts = {512, 2048};  // tokens of a prompt
  std::vector<std::string> measures = {"language", "free"};
  int64_t documents = 4;   // for each context
  int64_t scored = 128;    // tokens after each prompt whose predictions are compared
  int64_t generated = 64;  // tokens of a free continuation
  int64_t samples = 4;     // prompts of each retrieval task and context
  uint64_t seed = 0;       // of the retrieval tasks

  bool measures_any(const std::string& name) const {
    for (const std::string& measure : measures) {
      if (measure == name) return true;
    }
    return false;
  }
};

}  // namespace incontext::eval
