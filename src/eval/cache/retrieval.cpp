#include "eval/cache/retrieval.h"

#include <algorithm>
#include <optional>

namespace incontext::eval {
namespace {

using base::Json;

constexpr BootstrapOptions kAnswerIntervals{.confidence = 0.95};
constexpr int kDepths = 4;             // in which accuracy is told apart
constexpr int64_t kAnswerMargin = 8;   // tokens that an answer may have beside the value
constexpr double kQuestionSteps = 60;  // about, for the estimate of the work

// The text of the prompt in the form of a chat, if the model has a template that shows all parts.
std::optional<std::string> render_chat(const decode::OpenedModel& opened, const std::string& asked,
                                       const std::string& answer_start) {
  if (!opened.chat) return std::nullopt;
  const Json messages = {{{"role", "user"}, {"content", asked}}, {{"role", "assistant"}, {"content", answer_start}}};
  try {
    return opened.chat->render_to(text::ChatEnd::open_message, messages, nullptr);
  } catch (const base::Error&) {  // a template may refuse any conversation
    return std::nullopt;
  }
}

size_t common_beginning(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  const auto [in_a, in_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<size_t>(in_a - a.begin());
}

std::string depth_progress(const std::string& task, int64_t context, int64_t sample, int64_t samples) {
  return fmt::format("context {}, {} {} of {}", context, task, sample + 1, samples);
}

}  // namespace

RetrievalTokens encode_retrieval(const decode::OpenedModel& opened, const tasks::RetrievalPrompt& prompt) {
  const std::string before = prompt.introduction + "\n\n" + prompt.context;
  const std::string asked = before + "\n\n" + prompt.question;
  std::string whole = asked + "\n" + prompt.answer_start;
  size_t question = before.size(), start = asked.size();
  std::vector<int64_t> prefix = opened.tokenizer->prefix();
  if (const std::optional<std::string> chat = render_chat(opened, asked, prompt.answer_start)) {
    const size_t at = chat->rfind(prompt.question);
    const size_t begin = chat->rfind(prompt.answer_start);
    if (at != std::string::npos && begin != std::string::npos && at < begin) {
      whole = *chat;
      question = at;
      start = at + prompt.question.size();
      prefix.clear();  // templates write it themselves
    }
  }
  // The tokens are those of the whole text. A token across the border of two parts belongs to the later one.
  const auto encode = [&](size_t length) { return opened.tokenizer->encode(whole.substr(0, length), false); };
  const std::vector<int64_t> tokens = encode(whole.size());
  const size_t first = common_beginning(encode(question), tokens);
  const size_t second = std::max(first, common_beginning(encode(start), tokens));
  const auto at = [&](size_t index) { return tokens.begin() + static_cast<std::ptrdiff_t>(index); };
  RetrievalTokens parts;
  parts.context = prefix;
  parts.context.insert(parts.context.end(), at(0), at(first));
  parts.question.assign(at(first), at(second));
  parts.answer_start.assign(at(second), tokens.end());
  return parts;
}

struct Retrieval::Sample {
  tasks::RetrievalPrompt prompt;
  RetrievalTokens tokens;
  int64_t answer_tokens = 0;  // at most
};

Retrieval::Retrieval(const decode::OpenedModel& opened, const std::vector<MeasuredPolicy>& policies,
                     const CacheEvaluationOptions& options)
    : opened_(opened), options_(options), sequences_(policies) {
  const MeasuredPolicy full = full_policy(*opened.model);
  const auto is_full = [&](const MeasuredPolicy& policy) { return policy.kind->policy() == full.kind->policy(); };
  if (std::none_of(policies.begin(), policies.end(), is_full)) sequences_.insert(sequences_.begin(), full);
  for (const int64_t context : options.contexts) check_room(context);
}

Retrieval::Sample Retrieval::sample(const std::string& task, int64_t index, int64_t context) const {
  const auto reference_tokens = [&](const tasks::RetrievalPrompt& prompt) {
    return static_cast<int64_t>(opened_.tokenizer->encode(" " + prompt.references[0], false).size()) + kAnswerMargin;
  };
  Sample sample;
  sample.prompt = tasks::longest_retrieval_prompt(
      task, options_.seed, static_cast<uint64_t>(index), context, [&](const tasks::RetrievalPrompt& prompt) {
        return encode_retrieval(opened_, prompt).size() + reference_tokens(prompt);
      });
  sample.tokens = encode_retrieval(opened_, sample.prompt);
  sample.answer_tokens = reference_tokens(sample.prompt);
  return sample;
}

void Retrieval::check_room(int64_t context) const {
  try {
    for (const std::string& task : tasks::retrieval_tasks()) sample(task, 0, context);
  } catch (const base::Error& error) {
    base::fail("--context {}: {}", context, error.what());
  }
}

double Retrieval::work_of(int64_t context) const {
  const double steps = 2 * kQuestionSteps * Work::of_step(sequences_.size());
  const double of_sample = static_cast<double>(context) * static_cast<double>(sequences_.size()) + steps;
  return static_cast<double>(options_.samples) * static_cast<double>(tasks::retrieval_tasks().size()) * of_sample;
}

// Takes in the rest of the prompt and answers greedily, under every policy. Returns the scores.
std::vector<double> Retrieval::answer(LockStep& lock_step, std::vector<int64_t> rest, const Sample& sample,
                                      Work& work) const {
  torch::Tensor logits;
  for (const int64_t token : rest) {
    logits = lock_step.step(std::vector<int64_t>(sequences_.size(), token));
    work.add(Work::of_step(sequences_.size()));
  }
  std::vector<std::vector<int64_t>> answers(sequences_.size());
  for (int64_t step = 0; step < sample.answer_tokens; ++step) {
    const torch::Tensor chosen = logits.narrow(1, 0, opened_.sampled_tokens()).argmax(1);
    std::vector<int64_t> tokens;
    for (size_t i = 0; i < sequences_.size(); ++i) {
      tokens.push_back(chosen.data_ptr<int64_t>()[i]);
      answers[i].push_back(tokens.back());
    }
    if (step + 1 == sample.answer_tokens) break;
    logits = lock_step.step(tokens);
    work.add(Work::of_step(sequences_.size()));
  }
  std::vector<double> scores;
  const std::vector<int64_t>& ends = opened_.defaults.stop_ids;
  for (std::vector<int64_t>& answer : answers) {
    answer.erase(std::find_first_of(answer.begin(), answer.end(), ends.begin(), ends.end()), answer.end());
    scores.push_back(tasks::retrieval_score(sample.prompt, opened_.tokenizer->decode(answer, true)));
  }
  return scores;
}

void Retrieval::measure(int64_t context, Work& work, CacheResults& results) const {
  struct Score {
    double depth = 0;
    std::vector<double> of_policy = {};
  };
  for (const std::string& task : tasks::retrieval_tasks()) {
    std::vector<Score> known, unknown;
    for (int64_t index = 0; index < options_.samples; ++index) {
      work.begin(depth_progress(task, context, index, options_.samples));
      const Sample sample = this->sample(task, index, context);
      const RetrievalTokens& tokens = sample.tokens;
      LockStep first(*opened_.model, sequences_, context);
      const auto count = [&](int64_t read) { work.add(static_cast<double>(read)); };
      first.read(tokens.context, count);
      LockStep second = first.fork(context);
      first.end_of_prompt();
      std::vector<int64_t> rest = tokens.question;
      rest.insert(rest.end(), tokens.answer_start.begin(), tokens.answer_start.end());
      unknown.push_back({sample.prompt.depth, answer(first, std::move(rest), sample, work)});
      second.read(tokens.question, count);
      second.end_of_prompt();
      known.push_back({sample.prompt.depth, answer(second, tokens.answer_start, sample, work)});
    }
    for (size_t i = 0; i < sequences_.size(); ++i) {
      for (const auto* scores : {&known, &unknown}) {
        RetrievalRow row{.cache = sequences_[i].name,
                         .kind = cache::parse_policy(sequences_[i].name).kind,
                         .context = context,
                         .samples = options_.samples,
                         .task = task,
                         .question = scores == &known ? "known" : "unknown",
                         .accuracy = {},
                         .depths = {}};
        std::vector<double> all, sums(kDepths);
        std::vector<int64_t> counts(kDepths);
        for (const Score& score : *scores) {
          all.push_back(score.of_policy[i]);
          const auto at = static_cast<size_t>(score.depth * kDepths);
          sums[at] += score.of_policy[i];
          ++counts[at];
        }
        row.accuracy = bootstrap(all, kAnswerIntervals);
        for (size_t at = 0; at < kDepths; ++at) {
          if (counts[at] == 0) continue;
          row.depths.push_back({.low = static_cast<double>(at) / kDepths,
                                .high = static_cast<double>(at + 1) / kDepths,
                                .accuracy = sums[at] / static_cast<double>(counts[at]),
                                .samples = counts[at]});
        }
        results.retrieval.push_back(std::move(row));
      }
    }
  }
}

}  // namespace incontext::eval
