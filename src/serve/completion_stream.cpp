#include "serve/completion_stream.h"

#include "serve/request_error.h"

namespace incontext::serve {

using base::Json;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

namespace {

// How soon it is seen that a client is gone.
constexpr milliseconds kLook{100};
// Proxies close connections that are silent for long.
constexpr milliseconds kLongestSilence{5'000};

}  // namespace

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

CompletionRun::CompletionRun(std::unique_ptr<Exchange> exchange, Answer answer, Connection connection,
                             Clock::time_point deadline)
    : exchange_(std::move(exchange)),
      answer_(std::move(answer)),
      connection_(connection),
      deadline_(deadline),
      last_written_(Clock::now()) {}

void CompletionRun::check_time() const {
  if (Clock::now() > deadline_)
    throw RequestError(504, "the request took longer than this server allows", "", "timeout");
}

Json CompletionRun::wait() {
  answer_.start();
  while (!exchange_->ended()) {
    if (const auto event = exchange_->next(kLook)) answer_.take(*event);
    if (!connection_.alive()) throw RequestError(499, "the client is gone");
    check_time();
  }
  return answer_.whole();
}

std::string CompletionRun::events_of(const std::vector<Json>& chunks) {
  std::string text;
  for (const Json& chunk : chunks) text += "data: " + dump(chunk) + "\n\n";
  return text;
}

std::optional<std::string> CompletionRun::next(bool& done) {
  std::string text;
  if (!started_) text += events_of(answer_.start());
  started_ = true;
  try {
    auto event = exchange_->next(text.empty() ? kLook : milliseconds(0));
    while (event) {
      if (event->kind == ContinuationEvent::Kind::progress) prompt_done_ = event->done;
      text += events_of(answer_.take(*event));
      event = exchange_->ended() ? std::nullopt : exchange_->next(milliseconds(0));
    }
    if (!connection_.alive()) return std::nullopt;
    done = exchange_->ended();
    if (!done) check_time();
  } catch (const RequestError& error) {
    done = true;
    return text + "data: " + dump(error.body()) + "\n\n";
  }
  if (done) text += events_of(answer_.finish()) + "data: [DONE]\n\n";
  if (text.empty() && Clock::now() - last_written_ > kLongestSilence) {
    text = fmt::format(": {} tokens of the prompt done\n\n", prompt_done_);
  }
  if (!text.empty()) last_written_ = Clock::now();
  return text;
}

}  // namespace incontext::serve
