// Input: the body of a request. Every route of the server reads it; what it reads is answered by a script.
#include "fuzz/input.h"
#include "serve/answer.h"
#include "serve/byte_backend.h"
#include "serve/completion_request.h"
#include "serve/completion_stream.h"
#include "serve/fields.h"
#include "serve/request_error.h"
#include "serve/token_routes.h"
#include "text/chat_template.h"

using namespace incontext;
using base::Json;

namespace {

class ScriptedBackend : public testing::ByteBackend {
 public:
  ScriptedBackend() : ByteBackend({"scripted"}, 400) {}

  std::vector<int64_t> encode_chat(const serve::ChatPrompt& prompt) const override {
    const Json messages = template_.prepared(prompt.messages);
    const bool open = prompt.end == text::ChatEnd::open_message;
    return encode(open ? template_.render_open(messages, prompt.tools, prompt.variables, 0)
                       : template_.render(messages, prompt.tools, true, prompt.variables, 0),
                  prompt.add_special_tokens);
  }
  int64_t submit(serve::ContinuationRequest, serve::ContinuationEvents) override { return 0; }
  void cancel(int64_t) override {}
  serve::BackendStatus status() const override { return {}; }

 private:
  text::ChatTemplate template_{
      "{% for m in messages %}{{ m.role }}:{{ m.content }}{{ m.tool_calls|tojson if m.tool_calls }}\n{% endfor %}"
      "{{ tools|tojson if tools }}{{ thinking }}"};
};

void check_answer(const Json& answer) { INCONTEXT_ASSERT(Json::accept(serve::dump(answer))); }
void check_answers(const std::vector<Json>& answers) {
  for (const Json& answer : answers) check_answer(answer);
}

decode::Choice score(int64_t token, const serve::ContinuationRequest& request) {
  decode::Choice choice{.token = token, .logprob = -0.5, .top = {}};
  if (request.top_logprobs > 0) choice.top = {{.token = token, .logprob = -0.5}, {.token = 'z', .logprob = -2.5}};
  return choice;
}

void check_request(const serve::CompletionRequest& request, const serve::BackendCard& card) {
  INCONTEXT_ASSERT(!request.continuations.empty() && request.choices >= 1);
  for (const serve::ContinuationRequest& one : request.continuations) {
    const auto prompt = static_cast<int64_t>(one.prompt.size());
    INCONTEXT_ASSERT(prompt > 0 && one.max_tokens >= 0 && prompt + one.max_tokens <= card.context);
    for (const int64_t token : one.prompt) INCONTEXT_ASSERT(token >= 0 && token < card.vocabulary);
    for (const auto& [token, bias] : one.sampling.logit_bias) {
      INCONTEXT_ASSERT(token >= 0 && token < card.vocabulary && bias >= -100 && bias <= 100);
    }
    INCONTEXT_ASSERT(one.sampling.temperature >= 0 && one.sampling.temperature <= 100);
  }
}

void answer(const serve::CompletionRequest& request, const serve::Backend& backend) {
  check_request(request, backend.card());
  using Kind = serve::ContinuationEvent::Kind;
  serve::Answer answer(request, backend, "id");
  check_answers(answer.start());
  for (size_t i = 0; i < request.continuations.size(); ++i) {
    const serve::ContinuationRequest& one = request.continuations[i];
    answer.take({.kind = Kind::progress, .continuation = i, .done = 1, .reused = 0});
    if (one.prompt_logprobs) {
      serve::ContinuationEvent scores{.kind = Kind::scores, .continuation = i};
      for (size_t at = 1; at < one.prompt.size(); ++at) scores.scores.push_back(score(one.prompt[at], one));
      check_answers(answer.take(scores));
    }
    for (const int64_t token : {int64_t{'H'}, int64_t{0xC3}, int64_t{256}}) {
      check_answers(answer.take({.kind = Kind::token,
                                 .continuation = i,
                                 .scores = {score(token, one)},
                                 .text = token == 0xC3 ? "" : backend.token_bytes(token)}));
    }
    check_answers(answer.take({.kind = Kind::end, .continuation = i, .text = "!", .finish = serve::Finish::length}));
  }
  check_answers(answer.finish());
  check_answer(answer.whole());
}

template <class Work>
void guarded(const Work& work) {
  try {
    work();
  } catch (const serve::RequestError& error) {
    testing::check_message(error);
    INCONTEXT_ASSERT(error.status() >= 400 && error.status() < 500);
    check_answer(error.body());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ScriptedBackend backend;
  const serve::RequestLimits limits{.max_tokens = 300, .max_choices = 4};
  guarded([&] {
    const Json body = serve::parse_body(std::string(reinterpret_cast<const char*>(data), size));
    guarded([&] { answer(serve::read_completion_request(body, backend, limits), backend); });
    guarded([&] { answer(serve::read_chat_request(body, backend, limits), backend); });
    guarded([&] { check_answer(serve::answer_tokenize(body, backend)); });
    guarded([&] { check_answer(serve::answer_detokenize(body, backend)); });
  });
  return 0;
}
