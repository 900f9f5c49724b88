#include "cli/continuation.h"

#include <chrono>

#include "base/error.h"
#include "decode/text_stream.h"

namespace incontext::cli {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

const char* name_of(decode::Finish finish) {
  switch (finish) {
    case decode::Finish::stop:
      return "stop";
    case decode::Finish::length:
      return "length";
    case decode::Finish::cancelled:
      return "cancelled";
    case decode::Finish::error:
      return "error";
  }
  return "";
}

}  // namespace

Continuation run_continuation(decode::Engine& engine, const decode::OpenedModel& opened,
                              decode::GenerationRequest request, const std::vector<std::string>& stop_strings,
                              const ContinuationEvents& events, const base::StopRequest& interrupt) {
  Continuation result;
  decode::TextStream stream(opened.tokenizer, request.prompt, stop_strings);
  const auto start = std::chrono::steady_clock::now();
  bool ended = false;
  std::string failure;
  const auto show = [&](const std::string& text) {
    if (!text.empty() && events.on_text) events.on_text(text);
  };
  decode::GenerationEvents told;
  told.on_prompt = [&](int64_t done, int64_t reused) {
    result.prefill_seconds = seconds_since(start);
    result.reused_tokens = reused;
    if (events.on_prompt) events.on_prompt(done);
  };
  told.on_token = [&](const decode::Choice& choice) {
    result.tokens.push_back(choice.token);
    show(stream.push(choice.token));
    return !stream.stopped() && !interrupt.requested();
  };
  told.on_end = [&](decode::Finish finish, const std::string& error) {
    ended = true;
    result.finish_reason = interrupt.requested() ? "cancelled" : name_of(finish);
    if (finish == decode::Finish::error) failure = error;
  };
  const int64_t id = engine.submit(std::move(request), std::move(told));
  while (!ended) {
    if (interrupt.requested()) engine.cancel(id);
    const decode::EngineStatus before = engine.status();
    for (const auto& [policy, bytes] : before.cache_bytes) result.cache_bytes = std::max(result.cache_bytes, bytes);
    engine.step();
  }
  base::check(failure.empty(), "{}", failure);
  show(stream.finish());
  result.text = stream.text();
  result.decode_seconds = seconds_since(start) - result.prefill_seconds;
  const decode::EngineStatus status = engine.status();
  result.cache_bytes = std::max(result.cache_bytes, status.prefix_bytes);
  return result;
}

std::string for_terminal(const std::string& text) {
  std::string shown;
  for (const char c : text) {
    const bool control = (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7F;
    shown += control ? fmt::format("\\x{:02x}", static_cast<unsigned char>(c)) : std::string(1, c);
  }
  return shown;
}

}  // namespace incontext::cli
