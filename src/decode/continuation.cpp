#include "decode/continuation.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "cache/policy.h"
#include "decode/text_stream.h"

namespace incontext::decode {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Continuation run_continuation(Engine& engine, const OpenedModel& opened, GenerationRequest request,
                              const std::vector<std::string>& stop_strings, const ContinuationEvents& events) {
  Continuation result;
  TextStream stream(opened.tokenizer, request.prompt, stop_strings);
  const auto start = std::chrono::steady_clock::now();
  bool ended = false;
  std::string failure;
  const auto show = [&](const std::string& text) {
    if (!text.empty() && events.on_text) events.on_text(text);
  };
  const auto cancelled = [&] { return events.cancelled && events.cancelled(); };
  GenerationEvents told;
  told.on_prompt = [&](int64_t done, int64_t reused) {
    result.prefill_seconds = seconds_since(start);
    result.reused_tokens = reused;
    if (events.on_prompt) events.on_prompt(done);
  };
  told.on_token = [&](const Choice& choice) {
    result.tokens.push_back(choice.token);
    show(stream.push(choice.token));
    return !stream.stopped() && !cancelled();
  };
  told.on_end = [&](Finish finish, const std::string& error) {
    ended = true;
    result.finish_reason = cancelled() ? "cancelled" : base::name_of(finish);
    if (finish == Finish::error) failure = error;
  };
  const int64_t id = engine.submit(std::move(request), std::move(told));
  while (!ended) {
    if (cancelled()) engine.cancel(id);
    const EngineStatus before = engine.status();
    for (const auto& [policy, bytes] : before.cache_bytes) result.cache_bytes = bytes;  // of the only sequence
    engine.step();
  }
  base::check(failure.empty(), "{}", failure);
  show(stream.finish());
  result.text = stream.text();
  result.decode_seconds = seconds_since(start) - result.prefill_seconds;
  const EngineStatus status = engine.status();
  if (result.cache_bytes == 0) result.cache_bytes = status.prefix_bytes;  // it ended with its first step
  return result;
}

Continuation continue_text(const OpenedModel& opened, const std::string& prompt, const TextRequest& request,
                           const ContinuationEvents& events) {
  GenerationRequest generation;
  generation.prompt = opened.tokenizer->encode(prompt);
  base::check(!generation.prompt.empty(), "continue_text: the prompt holds no token");
  const int64_t room = opened.model->config().context - static_cast<int64_t>(generation.prompt.size());
  generation.max_tokens = std::max<int64_t>(0, std::min(request.max_tokens, room));
  generation.sampling = request.sampling.value_or(opened.defaults.sampling);
  generation.stop_ids = opened.defaults.stop_ids;
  generation.policy = cache::parse_policy(request.cache);
  EngineOptions options;
  options.sampled_tokens = opened.sampled_tokens();
  options.prefix_memory = 0;
  Engine engine(*opened.model, options);
  return run_continuation(engine, opened, std::move(generation), request.stop_strings, events);
}

}  // namespace incontext::decode
