#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "serve/backend.h"

namespace incontext::serve {

/// Counts of values up to each of some bounds, as Prometheus has them.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

  void observe(double value);
  /// Its lines in the text format.
  std::string text(const std::string& name, const std::string& help) const;

 private:
  std::vector<double> bounds_;
  std::vector<int64_t> counts_;  // the last: above every bound
  double sum_ = 0;
};

/// What a server has done, for GET /metrics. Thread-safe.
class Metrics {
 public:
  Metrics();

  void count_request(const std::string& route, int status);
  void add_prompt(int64_t tokens, int64_t reused);
  void add_first_token(double seconds_since_submit);
  void add_token(double seconds_since_last);
  void count_finish(Finish finish);

  /// Prometheus's text format.
  std::string text(const BackendCard& card, const BackendStatus& status) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, int64_t> requests_;
  std::map<std::string, int64_t> finished_;
  int64_t prompt_tokens_ = 0, reused_tokens_ = 0, generated_tokens_ = 0;
  Histogram first_token_, per_token_;
};

}  // namespace incontext::serve
