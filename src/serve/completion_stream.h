#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "serve/answer.h"
#include "serve/connection.h"
#include "serve/exchange.h"

namespace incontext::serve {

/// A request being answered: its events, the client that waits, and the time it has.
class CompletionRun {
 public:
  CompletionRun(std::unique_ptr<Exchange> exchange, Answer answer, Connection connection,
                std::chrono::steady_clock::time_point deadline);

  /// Waits for the end and returns the whole answer. RequestErrors: 500 failed, 504 too late, 499 the client is gone.
  base::Json wait();

  /// The next server-sent events, after a while at the latest; sets `done` after the last. Nothing when the client is
  /// gone.
  std::optional<std::string> next(bool& done);

 private:
  void check_time() const;
  std::string events_of(const std::vector<base::Json>& chunks);

  std::unique_ptr<Exchange> exchange_;
  Answer answer_;
  Connection connection_;
  std::chrono::steady_clock::time_point deadline_, last_written_;
  bool started_ = false;
  int64_t prompt_done_ = 0;
};

/// JSON for the wire; what is not UTF-8 is replaced.
std::string dump(const base::Json& json);

}  // namespace incontext::serve
