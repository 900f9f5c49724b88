#include "tasks/retrieval.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "tasks/retrieval_words.h"

namespace incontext::tasks {
namespace {

constexpr int64_t kNeedles = 4;

// The van der Corput sequence 0, 1/2, 1/4, 3/4, 1/8, …: every beginning of it is spread over [0, 1).
double spread_depth(uint64_t index) {
  double depth = 0, place = 0.5;
  for (; index > 0; index /= 2, place /= 2) depth += static_cast<double>(index % 2) * place;
  return depth;
}

std::string words_key(base::RandomStream& stream) {
  return fmt::format("{} {}", kAdjectives[stream.below(kAdjectives.size())], kNouns[stream.below(kNouns.size())]);
}

std::string random_digits(base::RandomStream& stream) { return fmt::format("{}", 1000000 + stream.below(9000000)); }

std::string random_hex(base::RandomStream& stream) { return fmt::format("{:08x}", stream.next_u32()); }

// Distinct keys, each with a value.
std::vector<std::pair<std::string, std::string>> draw_pairs(base::RandomStream& stream, int64_t count,
                                                            std::string (*key)(base::RandomStream&),
                                                            std::string (*value)(base::RandomStream&)) {
  std::set<std::string> seen;
  std::vector<std::pair<std::string, std::string>> pairs;
  while (static_cast<int64_t>(pairs.size()) < count) {
    std::string drawn = key(stream);
    if (seen.insert(drawn).second) pairs.emplace_back(std::move(drawn), value(stream));
  }
  return pairs;
}

// A place among `size` others.
size_t place_of(double depth, int64_t size) {
  return static_cast<size_t>(std::lround(depth * static_cast<double>(size)));
}

RetrievalPrompt needle_prompt(int64_t needles, uint64_t seed, uint64_t index, int64_t size) {
  base::RandomStream stream(seed, "retrieval needles", index), noise(seed, "retrieval noise", index);
  const auto facts = draw_pairs(stream, needles, words_key, random_digits);
  std::vector<double> depths = {spread_depth(index)};
  while (static_cast<int64_t>(depths.size()) < needles) depths.push_back(stream.uniform());
  std::vector<std::string> after(static_cast<size_t>(size) + 1);  // needles, by the number of sentences before them
  for (size_t i = 0; i < facts.size(); ++i) {
    after[place_of(depths[i], size)] +=
        fmt::format("The special number of the {} is {}. ", facts[i].first, facts[i].second);
  }
  RetrievalPrompt prompt;
  prompt.introduction = "Some special numbers are hidden in the following text. Remember them.";
  prompt.context = after[0];
  for (int64_t i = 0; i < size; ++i) {
    prompt.context += kNoise[noise.below(kNoise.size())];
    prompt.context += " " + after[static_cast<size_t>(i) + 1];
  }
  prompt.context.pop_back();  // a space, or nothing where there is none
  prompt.question = fmt::format("What is the special number of the {} in the text?", facts[0].first);
  prompt.answer_start = fmt::format("The special number of the {} is", facts[0].first);
  prompt.references = {facts[0].second};
  prompt.depth = depths[0];
  return prompt;
}

RetrievalPrompt key_value_prompt(uint64_t seed, uint64_t index, int64_t size) {
  base::RandomStream stream(seed, "retrieval key-values", index);
  std::vector<std::pair<std::string, std::string>> pairs = draw_pairs(stream, size + 1, random_hex, random_hex);
  const std::pair<std::string, std::string> asked = pairs[0];
  pairs.erase(pairs.begin());
  const double depth = spread_depth(index);
  pairs.insert(pairs.begin() + static_cast<std::ptrdiff_t>(place_of(depth, size)), asked);
  RetrievalPrompt prompt;
  prompt.introduction = "Read the following JSON object. Remember the values of its keys.";
  for (const auto& [key, value] : pairs) {
    prompt.context += fmt::format("{}\"{}\": \"{}\"", prompt.context.empty() ? "{" : ",\n ", key, value);
  }
  prompt.context += "}";
  prompt.question = fmt::format("What is the value of the key \"{}\" in the JSON object?", asked.first);
  prompt.answer_start = fmt::format("\"{}\": \"", asked.first);
  prompt.references = {asked.second};
  prompt.depth = depth;
  return prompt;
}

std::string in_lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

const std::vector<std::string>& retrieval_tasks() {
  static const std::vector<std::string> tasks = {"needle", "needles", "key_values"};
  return tasks;
}

RetrievalPrompt retrieval_prompt(const std::string& task, uint64_t seed, uint64_t index, int64_t size) {
  INCONTEXT_ASSERT(size >= 0);
  if (task == "needle") return needle_prompt(1, seed, index, size);
  if (task == "needles") return needle_prompt(kNeedles, seed, index, size);
  base::check(task == "key_values", "unknown retrieval task '{}'; known: {}", task, fmt::join(retrieval_tasks(), ", "));
  return key_value_prompt(seed, index, size);
}

RetrievalPrompt longest_retrieval_prompt(const std::string& task, uint64_t seed, uint64_t index, int64_t limit,
                                         const std::function<int64_t(const RetrievalPrompt&)>& tokens) {
  const auto fits = [&](int64_t size) { return tokens(retrieval_prompt(task, seed, index, size)) <= limit; };
  base::check(fits(0), "retrieval task '{}': expected room for {} tokens, the least that it takes, got {}", task,
              tokens(retrieval_prompt(task, seed, index, 0)), limit);
  int64_t low = 0, high = 1;  // low fits, high does not
  while (fits(high)) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return retrieval_prompt(task, seed, index, low);
}

double retrieval_score(const RetrievalPrompt& prompt, const std::string& answer) {
  INCONTEXT_ASSERT(!prompt.references.empty());
  const std::string given = in_lower_case(answer);
  double found = 0;
  for (const std::string& reference : prompt.references) {
    if (given.find(in_lower_case(reference)) != std::string::npos) ++found;
  }
  return found / static_cast<double>(prompt.references.size());
}

}  // namespace incontext::tasks
