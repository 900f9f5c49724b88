#include "eval/cache/language.h"

#include <algorithm>
#include <cmath>

#include "base/statistics.h"
#include "tensor/device.h"

namespace incontext::eval {
namespace {

using torch::Tensor;

constexpr BootstrapOptions kIntervals{.confidence = 0.95};
constexpr int64_t kTimedSteps = 12;
constexpr int64_t kWarmUp = 2;
constexpr int64_t kFirstGroup = 16;  // predictions; groups double in size

std::span<const float> row_of(const Tensor& logits, size_t row, int64_t vocabulary) {
  return {logits.data_ptr<float>() + static_cast<int64_t>(row) * logits.size(1), static_cast<size_t>(vocabulary)};
}

// The documents of one context. The first sequence of each lock-step is the full cache's, the others the policies'.
class ContextMeasurement {
 public:
  ContextMeasurement(const decode::OpenedModel& opened, const std::vector<MeasuredPolicy>& policies,
                     const CacheEvaluationOptions& options, int64_t context, Work& work)
      : model_(*opened.model),
        vocabulary_(opened.sampled_tokens()),
        options_(options),
        context_(context),
        work_(work),
        of_policy_(policies.size()) {
    sequences_.push_back(full_policy(model_));
    sequences_.insert(sequences_.end(), policies.begin(), policies.end());
  }

  void measure(const std::vector<int64_t>& document) {
    const int64_t capacity = context_ + tokens_after_prompt(options_);
    LockStep lock_step(model_, sequences_, capacity);
    lock_step.read(std::span(document).first(static_cast<size_t>(context_)),
                   [&](int64_t tokens) { work_.add(static_cast<double>(tokens)); });
    lock_step.end_of_prompt();
    take_sizes(lock_step);
    const std::span<const int64_t> rest = std::span(document).subspan(static_cast<size_t>(context_));
    if (options_.measures_any("free")) continue_freely(lock_step.fork(capacity), rest[0]);
    if (options_.measures_any("language")) score(lock_step, rest);
  }

  void add_rows(CacheResults& results) const {
    for (size_t i = 0; i < of_policy_.size(); ++i) {
      if (options_.measures_any("language")) results.language.push_back(language_row(i));
      if (options_.measures_any("free")) results.free.push_back(free_row(i));
    }
  }

 private:
  struct OfPolicy {
    std::vector<double> bytes, shares, read_seconds, compress_seconds;  // of each document
    std::vector<std::vector<Divergence>> documents;
    std::vector<double> step_seconds, step_ratios;  // of timed steps, the full cache's by this one's
    std::vector<double> common_prefixes;
  };

  void take_sizes(const LockStep& lock_step) {
    const auto full = static_cast<double>(lock_step.state(0).cache->bytes());
    for (size_t i = 0; i < of_policy_.size(); ++i) {
      const auto bytes = static_cast<double>(lock_step.state(i + 1).cache->bytes());
      of_policy_[i].bytes.push_back(bytes);
      of_policy_[i].shares.push_back(full > 0 ? bytes / full : 1);
      of_policy_[i].read_seconds.push_back(lock_step.read_seconds()[i + 1]);
      of_policy_[i].compress_seconds.push_back(lock_step.compress_seconds()[i + 1]);
    }
  }

  void score(LockStep& lock_step, std::span<const int64_t> tokens) {
    for (OfPolicy& policy : of_policy_) policy.documents.emplace_back(static_cast<size_t>(options_.scored));
    std::vector<Divergence> full(static_cast<size_t>(options_.scored));
    const int64_t timed = std::min(kTimedSteps, options_.scored);
    std::vector<double> seconds;
    for (int64_t at = 0; at < options_.scored; ++at) {
      const std::vector<int64_t> same(sequences_.size(), tokens[static_cast<size_t>(at)]);
      const bool in_turn = at < timed;
      const Tensor logits = in_turn ? lock_step.step_in_turn(same, seconds) : lock_step.step(same);
      if (in_turn && (at >= kWarmUp || timed <= kWarmUp)) take_times(seconds);
      compare_at(logits, at, tokens[static_cast<size_t>(at + 1)], full);
      work_.add(Work::of_step(sequences_.size()));
    }
    full_.insert(full_.end(), full.begin(), full.end());
  }

  void take_times(const std::vector<double>& seconds) {
    for (size_t i = 0; i < of_policy_.size(); ++i) {
      of_policy_[i].step_seconds.push_back(seconds[i + 1]);
      of_policy_[i].step_ratios.push_back(seconds[0] / seconds[i + 1]);
    }
  }

  void compare_at(const Tensor& logits, int64_t at, int64_t next, std::vector<Divergence>& full) {
    const Distribution reference = distribution_of(row_of(logits, 0, vocabulary_));
    full[static_cast<size_t>(at)] = compare(reference, reference, next);
    tensor::kernel_pool().run(static_cast<int64_t>(of_policy_.size()), [&](int64_t piece, int) {
      const auto i = static_cast<size_t>(piece);
      of_policy_[i].documents.back()[static_cast<size_t>(at)] =
          compare(reference, distribution_of(row_of(logits, i + 1, vocabulary_)), next);
    });
  }

  // The token that follows the prompt in the text is the first that reads what was compressed.
  void continue_freely(LockStep lock_step, int64_t next) {
    std::vector<int64_t> tokens(sequences_.size(), next), common(of_policy_.size(), 0);
    std::vector<bool> parted(of_policy_.size(), false);
    for (int64_t step = 0; step < options_.generated; ++step) {
      const Tensor chosen = lock_step.step(tokens).narrow(1, 0, vocabulary_).argmax(1);
      for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = chosen.data_ptr<int64_t>()[i];
      for (size_t i = 0; i < of_policy_.size(); ++i) {
        if (tokens[i + 1] != tokens[0]) parted[i] = true;
        if (!parted[i]) ++common[i];
      }
      work_.add(Work::of_step(sequences_.size()));
    }
    for (size_t i = 0; i < of_policy_.size(); ++i) {
      of_policy_[i].common_prefixes.push_back(static_cast<double>(common[i]));
    }
  }

  static DivergenceSummary summary_of(const OfPolicy& policy, int64_t first, int64_t last) {
    std::vector<Divergence> positions;
    for (const auto& document : policy.documents) {
      positions.insert(positions.end(), document.begin() + first, document.begin() + last);
    }
    return summarize(positions);
  }

  LanguageRow language_row(size_t index) const {
    const OfPolicy& policy = of_policy_[index];
    const MeasuredPolicy& named = sequences_[index + 1];
    std::vector<double> means;  // of documents
    for (const auto& document : policy.documents) means.push_back(summarize(document).kl_mean);
    LanguageRow row{.cache = named.name,
                    .kind = cache::parse_policy(named.name).kind,
                    .context = context_,
                    .documents = static_cast<int64_t>(policy.documents.size()),
                    .scored = options_.scored,
                    .bytes_per_token = mean_of(policy.bytes) / static_cast<double>(context_),
                    .share_of_full = mean_of(policy.shares),
                    .fixed_bytes = named.kind->fixed_bytes(),
                    .summary = summary_of(policy, 0, options_.scored),
                    .kl = bootstrap(means, kIntervals),
                    .full_perplexity = summarize(full_).perplexity,
                    .by_position = {},
                    .read_seconds = base::median(policy.read_seconds),
                    .compress_seconds = base::median(policy.compress_seconds),
                    .decode_tokens_per_second = 1 / base::median(policy.step_seconds),
                    .ratio_to_full = base::median(policy.step_ratios)};
    for (int64_t first = 0, last = kFirstGroup; first < options_.scored; first = last, last *= 2) {
      last = std::min(last, options_.scored);
      row.by_position.push_back({.first = first + 1, .last = last, .summary = summary_of(policy, first, last)});
    }
    return row;
  }

  FreeRow free_row(size_t index) const {
    const std::vector<double>& common = of_policy_[index].common_prefixes;
    const auto whole = std::count(common.begin(), common.end(), static_cast<double>(options_.generated));
    return {.cache = sequences_[index + 1].name,
            .kind = cache::parse_policy(sequences_[index + 1].name).kind,
            .context = context_,
            .documents = static_cast<int64_t>(common.size()),
            .generated = options_.generated,
            .common_prefix = bootstrap(common, kIntervals),
            .identical = static_cast<double>(whole) / static_cast<double>(common.size())};
  }

  static double mean_of(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum / static_cast<double>(values.size());
  }

  const models::LanguageModel& model_;
  int64_t vocabulary_;
  const CacheEvaluationOptions& options_;
  int64_t context_;
  Work& work_;
  std::vector<MeasuredPolicy> sequences_;
  std::vector<OfPolicy> of_policy_;
  std::vector<Divergence> full_;  // against itself, for its perplexity
};

}  // namespace

int64_t tokens_after_prompt(const CacheEvaluationOptions& options) {
  return std::max(options.measures_any("language") ? options.scored : 0,
                  options.measures_any("free") ? options.generated : 0);
}

int64_t document_tokens(const CacheEvaluationOptions& options, int64_t context) {
  return context + (options.measures_any("language") ? options.scored : 0) + 1;
}

double language_work(const CacheEvaluationOptions& options, int64_t context) {
  const size_t sequences = options.policies.size() + 1;
  int64_t steps = 0;
  if (options.measures_any("language")) steps += options.scored;
  if (options.measures_any("free")) steps += options.generated;
  const double of_document = static_cast<double>(context) * static_cast<double>(sequences) +
                             static_cast<double>(steps) * Work::of_step(sequences);
  return static_cast<double>(options.documents) * of_document;
}

void measure_language(const decode::OpenedModel& opened, const std::vector<MeasuredPolicy>& policies,
                      const ScoredTexts& texts, const CacheEvaluationOptions& options, int64_t context, Work& work,
                      CacheResults& results) {
  ContextMeasurement measurement(opened, policies, options, context, work);
  for (int64_t index = 0; index < options.documents; ++index) {
    work.begin(fmt::format("context {}, document {} of {}", context, index + 1, options.documents));
    measurement.measure(texts.document(index, document_tokens(options, context)));
  }
  measurement.add_rows(results);
}

}  // namespace incontext::eval
