#include "serve/exchange.h"

#include <condition_variable>
#include <deque>
#include <mutex>

namespace incontext::serve {

struct Exchange::Queue {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<ContinuationEvent> events;

  void push(ContinuationEvent event) {
    const std::lock_guard lock(mutex);
    events.push_back(std::move(event));
    changed.notify_one();
  }
};

namespace {

using Clock = std::chrono::steady_clock;
using Kind = ContinuationEvent::Kind;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

Exchange::Exchange(Backend& backend, std::shared_ptr<Metrics> metrics, std::vector<ContinuationRequest> requests,
                   std::shared_ptr<void> ticket)
    : backend_(backend), ticket_(std::move(ticket)), queue_(std::make_shared<Queue>()) {
  for (size_t index = 0; index < requests.size(); ++index) {
    const auto prompt_tokens = static_cast<int64_t>(requests[index].prompt.size());
    ContinuationEvents events;
    events.on_prompt = [queue = queue_, metrics, index, prompt_tokens](int64_t done, int64_t reused) {
      if (done >= prompt_tokens) metrics->add_prompt(prompt_tokens, reused);
      queue->push({.kind = Kind::progress, .continuation = index, .done = done, .reused = reused});
    };
    events.on_prompt_scores = [queue = queue_, index](const std::vector<decode::Choice>& scores) {
      queue->push({.kind = Kind::scores, .continuation = index, .scores = scores});
    };
    events.on_token = [queue = queue_, metrics, index, last = Clock::now(), first = true](
                          const decode::Choice& token, const std::string& text) mutable {
      if (first) {
        metrics->add_first_token(seconds_since(last));
      } else {
        metrics->add_token(seconds_since(last));
      }
      first = false;
      last = Clock::now();
      queue->push({.kind = Kind::token, .continuation = index, .scores = {token}, .text = text});
    };
    events.on_stop_token = [queue = queue_, index](const decode::Choice& token) {
      queue->push({.kind = Kind::scores, .continuation = index, .scores = {token}});
    };
    events.on_cache = [queue = queue_, index](int64_t bytes) {
      queue->push({.kind = Kind::cache, .continuation = index, .cache_bytes = bytes});
    };
    events.on_end = [queue = queue_, metrics, index, held = ticket_](Finish finish, const std::string& rest,
                                                                     const std::string& error) {
      metrics->count_finish(finish);
      queue->push({.kind = Kind::end, .continuation = index, .text = rest, .finish = finish, .error = error});
    };
    try {
      numbers_.push_back(backend_.submit(std::move(requests[index]), std::move(events)));
    } catch (...) {
      cancel();
      throw;
    }
  }
}

Exchange::~Exchange() {
  if (!ended()) cancel();
}

void Exchange::cancel() {
  for (const int64_t number : numbers_) backend_.cancel(number);
}

std::optional<ContinuationEvent> Exchange::next(std::chrono::milliseconds wait) {
  std::unique_lock lock(queue_->mutex);
  if (!queue_->changed.wait_for(lock, wait, [&] { return !queue_->events.empty(); })) return std::nullopt;
  ContinuationEvent event = std::move(queue_->events.front());
  queue_->events.pop_front();
  if (event.kind == Kind::end) ++ended_;
  return event;
}

}  // namespace incontext::serve
