#include "serve/metrics.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/machine.h"

namespace incontext::serve {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

std::string labels_text(const Labels& labels) {
  std::string text;
  for (const auto& [name, value] : labels) {
    std::string escaped;
    for (const char c : value) {
      if (c == '\\' || c == '"') escaped += '\\';
      escaped += c == '\n' ? std::string("\\n") : std::string(1, c);
    }
    text += fmt::format("{}{}=\"{}\"", text.empty() ? "" : ",", name, escaped);
  }
  return text.empty() ? "" : "{" + text + "}";
}

std::string head(const std::string& name, const char* type, const std::string& help) {
  return fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

std::string line(const std::string& name, const Labels& labels, int64_t value) {
  return fmt::format("{}{} {}\n", name, labels_text(labels), value);
}

std::string single(const std::string& name, const char* type, const std::string& help, int64_t value) {
  return head(name, type, help) + line(name, {}, value);
}

}  // namespace

void Histogram::observe(double value) {
  const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  ++counts_[static_cast<size_t>(bound - bounds_.begin())];
  sum_ += value;
}

std::string Histogram::text(const std::string& name, const std::string& help) const {
  std::string text = head(name, "histogram", help);
  int64_t total = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    total += counts_[i];
    text += line(name + "_bucket", {{"le", i < bounds_.size() ? fmt::format("{}", bounds_[i]) : "+Inf"}}, total);
  }
  return text + fmt::format("{0}_sum {1}\n{0}_count {2}\n", name, sum_, total);
}

Metrics::Metrics()
    : first_token_({0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300}),
      per_token_({0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5}) {}

void Metrics::count_request(const std::string& route, int status) {
  const std::lock_guard lock(mutex_);
  ++requests_[{route, status}];
}

void Metrics::add_prompt(int64_t tokens, int64_t reused) {
  const std::lock_guard lock(mutex_);
  prompt_tokens_ += tokens;
  reused_tokens_ += reused;
}

void Metrics::add_first_token(double seconds_since_submit) {
  const std::lock_guard lock(mutex_);
  ++generated_tokens_;
  first_token_.observe(seconds_since_submit);
}

void Metrics::add_token(double seconds_since_last) {
  const std::lock_guard lock(mutex_);
  ++generated_tokens_;
  per_token_.observe(seconds_since_last);
}

void Metrics::count_finish(Finish finish) {
  const std::lock_guard lock(mutex_);
  ++finished_[base::name_of(finish)];
}

std::string Metrics::text(const BackendCard& card, const BackendStatus& status) const {
  std::string text = head("incontext_info", "gauge", "the program and the model it serves");
  text += line("incontext_info",
               {{"version", base::version()}, {"model", card.names.empty() ? "" : card.names.front()}}, 1);
  text += single("incontext_requests_running", "gauge", "continuations being computed", status.running);
  text += single("incontext_requests_waiting", "gauge", "continuations in the queue", status.waiting);
  text += head("incontext_cache_bytes", "gauge", "bytes that caches of running continuations hold, by policy");
  for (const auto& [policy, bytes] : status.cache_bytes)
    text += line("incontext_cache_bytes", {{"policy", policy}}, bytes);
  text += head("incontext_cache_tokens", "gauge", "tokens that caches of running continuations have seen, by policy");
  for (const auto& [policy, tokens] : status.cache_tokens)
    text += line("incontext_cache_tokens", {{"policy", policy}}, tokens);
  text += head("incontext_cache_fixed_bytes", "gauge", "bytes that all caches of a policy share, such as dictionaries");
  for (const auto& [policy, bytes] : status.fixed_bytes)
    text += line("incontext_cache_fixed_bytes", {{"policy", policy}}, bytes);
  text += single("incontext_prefix_cache_bytes", "gauge", "bytes that caches kept for later prompts hold",
                 status.prefix_bytes);
  text += single("incontext_cache_limit_bytes", "gauge", "bytes that all caches may hold", status.cache_limit);
  const std::lock_guard lock(mutex_);
  text += head("incontext_requests_total", "counter", "requests answered, by route and HTTP status");
  for (const auto& [key, count] : requests_) {
    text += line("incontext_requests_total", {{"route", key.first}, {"code", std::to_string(key.second)}}, count);
  }
  text += head("incontext_continuations_total", "counter", "continuations ended, by what ended them");
  for (const auto& [finish, count] : finished_)
    text += line("incontext_continuations_total", {{"finish", finish}}, count);
  text += single("incontext_prompt_tokens_total", "counter", "tokens of prompts", prompt_tokens_);
  text += single("incontext_reused_tokens_total", "counter", "of them taken from caches of earlier requests",
                 reused_tokens_);
  text += single("incontext_generated_tokens_total", "counter", "tokens generated", generated_tokens_);
  text += first_token_.text("incontext_time_to_first_token_seconds", "from the request to its first token");
  return text + per_token_.text("incontext_time_per_token_seconds", "between a token and the next");
}

}  // namespace incontext::serve
