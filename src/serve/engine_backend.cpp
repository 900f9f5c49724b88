#include "serve/engine_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/digest.h"
#include "base/machine.h"
#include "base/text.h"
#include "decode/engine.h"
#include "decode/opened_model.h"
#include "decode/stop_strings.h"
#include "serve/cache_offer.h"
#include "text/byte_level.h"
#include "text/continuation_decoder.h"
#include "text/utf8.h"

namespace incontext::serve {
namespace {

/// The text of a continuation, token by token, ended by stop strings.
class ContinuationText {
 public:
  ContinuationText(const std::shared_ptr<const text::Tokenizer>& tokenizer, const ContinuationRequest& asked)
      : decoder_(tokenizer, asked.prompt, asked.skip_special_tokens),
        stops_(asked.stop, asked.include_stop),
        before_stops_(asked.min_tokens) {}

  std::string push(int64_t token) {
    const std::string piece = decoder_.push(token);
    if (before_stops_ <= 0) return stops_.add(piece);
    --before_stops_;
    return piece;
  }
  std::string finish() {
    const std::string shown = stops_.add(decoder_.finish());
    return stops_.stopped() ? shown : shown + stops_.finish();
  }
  bool stopped() const { return stops_.stopped(); }

 private:
  text::ContinuationDecoder decoder_;
  decode::StopStrings stops_;
  int64_t before_stops_;  // tokens in whose text no stop string is looked for
};

class EngineBackend : public Backend {
 public:
  EngineBackend(const decode::OpenedModel& opened, const decode::EngineOptions& options, std::vector<std::string> names,
                const std::vector<std::string>& caches)
      : opened_(opened), engine_(*opened.model, options), offer_(offer(caches)) {
    card_.names = std::move(names);
    card_.context = opened.model->config().context;
    card_.vocabulary = opened.model->config().options.tokens.vocabulary;
    card_.max_batch = engine_.options().max_batch;
    card_.chat = opened.chat.has_value();
    if (!card_.chat) card_.chat_problem = base::printable(opened.chat_problem);
    card_.fingerprint = fmt::format("fp_{:016x}", base::fnv1a(base::version() + " " + opened.model->fingerprint()));
    card_.caches = offer_.names();
    card_.sampling = opened.defaults.sampling;
    const std::vector<int64_t> anchor = opened.tokenizer->encode("a", /*add_special_tokens=*/false);
    if (!anchor.empty()) anchor_ = {anchor.back()};
    thread_ = std::thread([this] { engine_.run(stop_); });
  }

  ~EngineBackend() override {
    stop_ = true;
    thread_.join();
  }

  const BackendCard& card() const override { return card_; }

  std::vector<int64_t> encode(const std::string& text, bool add_special_tokens) const override {
    return opened_.tokenizer->encode(text, add_special_tokens);
  }

  std::string decode(const std::vector<int64_t>& tokens) const override { return opened_.tokenizer->decode(tokens); }

  // Decoders trim what begins a text, so the token is looked at behind another one.
  std::string token_bytes(int64_t token) const override {
    const std::optional<std::string> written = opened_.tokenizer->id_to_token(token);
    if (!written) return "";
    const std::string before = opened_.tokenizer->decode(anchor_);
    std::vector<int64_t> both = anchor_;
    both.push_back(token);
    const std::string text = opened_.tokenizer->decode(both);
    if (text.starts_with(before) && text.find(text::kReplacementCharacter) == std::string::npos) {
      return text.substr(before.size());
    }
    // A part of a character: "<0xE2>" of byte fallback, or written in byte-level characters.
    if (written->size() == 6 && written->starts_with("<0x")) {
      return {static_cast<char>(std::stoi(written->substr(3, 2), nullptr, 16))};
    }
    return text::characters_to_bytes(*written);
  }

  std::vector<int64_t> encode_chat(const ChatPrompt& prompt) const override {
    return opened_.encode_chat(prompt.messages, prompt.tools, prompt.variables, prompt.end, prompt.add_special_tokens);
  }

  std::string cache_policy(const std::string& text) const override {
    return engine_.check_policy(offer_.find(text))->policy();
  }

  int64_t submit(ContinuationRequest asked, ContinuationEvents events) override {
    decode::GenerationRequest request;
    auto text = std::make_shared<ContinuationText>(opened_.tokenizer, asked);
    request.prompt = std::move(asked.prompt);
    request.max_tokens = asked.max_tokens;
    request.sampling = std::move(asked.sampling);
    // Not the engine's own stop_ids: it does not tell what the token that ends a text scored.
    std::vector<int64_t> stop_ids = std::move(asked.stop_token_ids);
    if (!asked.ignore_eos) {
      stop_ids.insert(stop_ids.end(), opened_.defaults.stop_ids.begin(), opened_.defaults.stop_ids.end());
    }
    request.min_tokens = asked.min_tokens;
    request.late_ids = stop_ids;
    request.policy = cache::parse_policy(asked.cache);
    request.top_logprobs = asked.top_logprobs;
    request.prompt_logprobs = asked.prompt_logprobs;

    auto told = std::make_shared<ContinuationEvents>(std::move(events));
    decode::GenerationEvents inner;
    inner.on_prompt = [told](int64_t done, int64_t reused) { told->on_prompt(done, reused); };
    inner.on_prompt_scores = [told](const std::vector<decode::Choice>& scores) { told->on_prompt_scores(scores); };
    inner.on_token = [told, text, stop_ids = std::move(stop_ids),
                      include_stop = asked.include_stop](const decode::Choice& choice) {
      if (std::find(stop_ids.begin(), stop_ids.end(), choice.token) != stop_ids.end()) {
        if (include_stop) {
          told->on_token(choice, text->push(choice.token));
        } else {
          told->on_stop_token(choice);
        }
        return false;
      }
      told->on_token(choice, text->push(choice.token));
      return !text->stopped();
    };
    inner.on_cache = [told](int64_t bytes) { told->on_cache(bytes); };
    inner.on_end = [told, text](decode::Finish finish, const std::string& error) {
      const std::string rest = text->finish();
      const bool stopped = text->stopped() && finish == decode::Finish::length;
      told->on_end(stopped ? Finish::stop : finish, rest, error);
    };
    return engine_.submit(std::move(request), std::move(inner));
  }

  void cancel(int64_t number) override { engine_.cancel(number); }

  BackendStatus status() const override {
    const decode::EngineStatus status = engine_.status();
    std::map<std::string, int64_t> fixed;
    for (const auto& kind : held_) {
      if (kind->fixed_bytes() > 0) fixed[kind->policy()] = kind->fixed_bytes();
    }
    return {.waiting = status.waiting,
            .running = status.running,
            .cache_limit = status.cache_limit,
            .prefix_bytes = status.prefix_bytes,
            .cache_bytes = status.cache_bytes,
            .cache_tokens = status.cache_tokens,
            .fixed_bytes = std::move(fixed)};
  }

 private:
  // Opens what the server was given, for good, and finds out which other kinds this model can have.
  CacheOffer offer(const std::vector<std::string>& caches) {
    std::vector<CacheOffer::Given> given;
    for (const std::string& text : caches.empty() ? std::vector<std::string>{"full"} : caches) {
      held_.push_back(engine_.check_policy(cache::parse_policy(text)));
      given.push_back({.text = text, .policy = held_.back()->policy()});
    }
    std::vector<std::string> kinds = kinds_without_files();
    std::erase_if(kinds, [&](const std::string& kind) {
      try {
        engine_.check_policy({.kind = kind});
        return false;
      } catch (const base::Error&) {
        return true;
      }
    });
    return {std::move(given), std::move(kinds)};
  }

  const decode::OpenedModel& opened_;
  decode::Engine engine_;
  std::vector<std::shared_ptr<const cache::CacheKind>> held_;  // what the server was given
  CacheOffer offer_;
  BackendCard card_;
  std::vector<int64_t> anchor_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Backend> make_engine_backend(const decode::OpenedModel& opened, const decode::EngineOptions& options,
                                             std::vector<std::string> names, std::vector<std::string> caches) {
  return std::make_unique<EngineBackend>(opened, options, std::move(names), caches);
}

}  // namespace incontext::serve
