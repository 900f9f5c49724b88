#include "eval/cache/measure.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/error.h"
#include "eval/cache/language.h"
#include "eval/cache/retrieval.h"

namespace incontext::eval {
namespace {

std::vector<MeasuredPolicy> open_policies(const models::LanguageModel& model, const CacheEvaluationOptions& options) {
  std::vector<MeasuredPolicy> policies;
  std::set<std::string> seen;
  for (const std::string& name : options.policies) {
    const auto kind = cache::open_kind(cache::parse_policy(name), model.cached_model());
    base::check(seen.insert(kind->policy()).second, "--cache {}: given twice", name);
    policies.push_back({.name = name, .kind = kind});
  }
  base::check(!policies.empty(), "--cache: expected at least one policy to measure, got none");
  return policies;
}

bool measures_text(const CacheEvaluationOptions& options) {
  return options.measures_any("language") || options.measures_any("free");
}

void check_contexts(const models::LanguageModel& model, const CacheEvaluationOptions& options) {
  const int64_t after = measures_text(options) ? tokens_after_prompt(options) : 0;
  for (const int64_t context : options.contexts) {
    base::check(context + after <= model.config().context,
                "--context {}: with the {} tokens after it the model would see {}; it has room for {}", context, after,
                context + after, model.config().context);
  }
}

// Writes each row once.
class RowWriter {
 public:
  explicit RowWriter(const CacheEvaluationEvents& events) : events_(events) {}

  void write_new(const CacheResults& results) {
    write(results.language, language_, results);
    write(results.free, free_, results);
    write(results.retrieval, retrieval_, results);
  }

 private:
  template <class Row>
  void write(const std::vector<Row>& rows, size_t& written, const CacheResults& of) const {
    for (; written < rows.size(); ++written) {
      if (!events_.write) continue;
      for (const base::Record& record : records_of(rows[written], of)) events_.write(record);
    }
  }

  const CacheEvaluationEvents& events_;
  size_t language_ = 0, free_ = 0, retrieval_ = 0;
};

}  // namespace

CacheResults measure_caches(const decode::OpenedModel& opened, const CacheEvaluationOptions& options,
                            const CacheEvaluationEvents& events) {
  const std::vector<MeasuredPolicy> policies = open_policies(*opened.model, options);
  std::optional<ScoredTexts> texts;
  if (measures_text(options)) texts.emplace(options.texts, *opened.tokenizer);
  check_contexts(*opened.model, options);
  CacheResults results;
  results.model = opened.folder.filename().empty() ? opened.folder.parent_path().filename().string()
                                                   : opened.folder.filename().string();
  double total = 0;
  if (texts) {
    results.texts = fmt::format("{}", fmt::join(options.texts, ", "));
    results.text_digest = texts->digest();
    for (const int64_t context : options.contexts) {
      for (int64_t i = 0; i < options.documents; ++i) texts->document(i, document_tokens(options, context));
      total += language_work(options, context);
    }
  }
  std::optional<Retrieval> retrieval;
  if (options.measures_any("retrieval")) {
    retrieval.emplace(opened, policies, options);
    for (const int64_t context : options.contexts) total += retrieval->work_of(context);
  }
  if (events.begin) events.begin();
  Work work(total, events);
  RowWriter writer(events);
  try {
    for (const int64_t context : options.contexts) {
      if (texts) measure_language(opened, policies, *texts, options, context, work, results);
      writer.write_new(results);
      if (retrieval) retrieval->measure(context, work, results);
      writer.write_new(results);
    }
  } catch (const Stopped&) {
    results.interrupted = true;
  }
  return results;
}

}  // namespace incontext::eval
