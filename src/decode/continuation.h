#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "decode/engine.h"
#include "decode/opened_model.h"

namespace incontext::decode {

/// A finished continuation of one prompt.
struct Continuation {
  std::string text;
  std::vector<int64_t> tokens;
  std::string finish_reason;  // "stop", "length" or "cancelled"
  double prefill_seconds = 0;
  double decode_seconds = 0;
  int64_t cache_bytes = 0;  // at the end
  int64_t reused_tokens = 0;
};

/// What a continuation tells on its way; each may be empty.
struct ContinuationEvents {
  std::function<void(const std::string& text)> on_text = {};
  std::function<void(int64_t tokens_done)> on_prompt = {};
  /// Asked between tokens; true ends the continuation early, as "cancelled".
  std::function<bool()> cancelled = {};
};

/// Runs one request on an engine to its end.
Continuation run_continuation(Engine& engine, const OpenedModel& opened, GenerationRequest request,
                              const std::vector<std::string>& stop_strings = {}, const ContinuationEvents& events = {});

/// What continue_text() can be asked for.
struct TextRequest {
  int64_t max_tokens = 128;                      // less where the context has no more room
  std::optional<SamplingOptions> sampling = {};  // absent: as the model's generation_config.json says
  std::vector<std::string> stop_strings = {};
  std::string cache = "full";  // a cache policy
};

/// Continues a text with an engine of its own: all that a program needs that continues one text at a time.
Continuation continue_text(const OpenedModel& opened, const std::string& prompt, const TextRequest& request = {},
                           const ContinuationEvents& events = {});

}  // namespace incontext::decode
