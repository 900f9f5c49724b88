#pragma once

#include <functional>
#include <string>

#include "base/signals.h"
#include "decode/engine.h"
#include "decode/opened_model.h"

namespace incontext::cli {

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

/// What a continuation tells on its way; either may be empty.
struct ContinuationEvents {
  std::function<void(const std::string& text)> on_text = {};
  std::function<void(int64_t tokens_done)> on_prompt = {};
};

/// Runs one request to its end. Ctrl-C ends it early.
Continuation run_continuation(decode::Engine& engine, const decode::OpenedModel& opened,
                              decode::GenerationRequest request, const std::vector<std::string>& stop_strings,
                              const ContinuationEvents& events, const base::StopRequest& interrupt);

/// The text with what is not UTF-8 or a control character (but line ends and tabs) made visible, fit for a terminal.
std::string for_terminal(const std::string& text);

}  // namespace incontext::cli
