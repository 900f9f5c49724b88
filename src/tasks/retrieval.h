#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace incontext::tasks {

/// A text with facts in it, and a question about one of them, in the shapes of RULER (Hsieh et al., 2024) and of the
/// key-value task of Liu et al. (2023), with words and sentences of our own.
struct RetrievalPrompt {
  std::string introduction;  // says what will be asked, not which
  std::string context;
  std::string question;
  std::string answer_start;             // what the answer begins with; the model goes on from there
  std::vector<std::string> references;  // what it must contain
  double depth = 0;                     // where the fact stands: 0 at the beginning of the context, 1 at its end
};

/// "needle": one number within noise. "needles": four, and one is asked for. "key_values": a JSON object of random
/// strings.
const std::vector<std::string>& retrieval_tasks();

/// Prompt `index` of a task with `size` sentences of noise, or further pairs: a pure function of its arguments. A
/// larger size adds to the context and changes nothing else. Any 2^k prompts in a row from 0 on have evenly spread
/// depths.
RetrievalPrompt retrieval_prompt(const std::string& task, uint64_t seed, uint64_t index, int64_t size);

/// The prompt with the largest size of which `tokens` counts at most `limit`. An Error where even the smallest has
/// more.
RetrievalPrompt longest_retrieval_prompt(const std::string& task, uint64_t seed, uint64_t index, int64_t limit,
                                         const std::function<int64_t(const RetrievalPrompt&)>& tokens);

/// The share of the references that an answer contains, whatever the case of their letters.
double retrieval_score(const RetrievalPrompt& prompt, const std::string& answer);

}  // namespace incontext::tasks
