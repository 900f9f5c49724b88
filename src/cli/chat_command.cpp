#include <unistd.h>

#include <iostream>

#include "base/signals.h"
#include "base/text.h"
#include "cli/cache_file.h"
#include "cli/commands.h"
#include "cli/generation_flags.h"
#include "cli/terminal.h"
#include "decode/continuation.h"
#include "decode/engine.h"
#include "decode/opened_model.h"
#include "ops/settings.h"
#include "tensor/device.h"

namespace incontext::cli {
namespace {

using base::Json;

constexpr const char* kHelp =
    "/clear  begin again\n/system TEXT  begin again with this system message; alone: without one\n/stats  what the "
    "last answer took\n"
    "/help  this\n/exit or /quit  leave (or Ctrl-D); Ctrl-C ends an answer\n"
    "Every other line goes to the model, one that begins with a slash too.\n";

class Chat {
 public:
  Chat(const ChatArguments& arguments, const decode::OpenedModel& opened, decode::Engine& engine)
      : arguments_(arguments), opened_(opened), engine_(engine) {
    begin(arguments.system);
  }

  /// Takes a line; false: leave. What is no command goes to the model, whatever it begins with: paths and comments do
  /// with a slash.
  bool take(const std::string& line) {
    const std::string command(base::trim(line));
    if (command == "/exit" || command == "/quit") return false;
    if (command == "/clear") {
      begin(system_);
    } else if (command == "/system" || command.starts_with("/system ")) {
      begin(std::string(base::trim(command.substr(7))));
    } else if (command == "/stats") {
      std::cout << stats_ << "\n";
    } else if (command == "/help") {
      std::cout << kHelp;
    } else if (!command.empty()) {
      answer(line);
    }
    return true;
  }

  void save() const {
    if (!prompt_.empty()) save_cache(arguments_.generation, opened_, engine_, prompt_, answer_);
  }

 private:
  void begin(const std::string& system) {
    system_ = system;
    messages_ = Json::array();
    if (!system.empty()) messages_.push_back({{"role", "system"}, {"content", system}});
  }

  void answer(const std::string& line) {
    messages_.push_back({{"role", "user"}, {"content", line}});
    try {
      decode::GenerationRequest request = arguments_.generation.request(opened_);
      request.prompt = opened_.encode_chat(messages_, nullptr);
      prompt_ = request.prompt;
      const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
      request.max_tokens = std::min(request.max_tokens, opened_.model->config().context - prompt_tokens);
      base::check(request.max_tokens > 0, "the conversation has {} tokens and the model's context holds {}: /clear",
                  prompt_tokens, opened_.model->config().context);
      const base::StopRequest interrupt("ending the answer");
      const bool terminal = ::isatty(STDOUT_FILENO) == 1;
      decode::ContinuationEvents events;
      events.cancelled = [&] { return interrupt.requested(); };
      events.on_text = [terminal](const std::string& text) {
        std::cout << (terminal ? for_terminal(text) : text) << std::flush;
      };
      const decode::Continuation result =
          decode::run_continuation(engine_, opened_, std::move(request), arguments_.generation.stop, events);
      std::cout << "\n";
      answer_ = result.tokens;
      messages_.push_back({{"role", "assistant"}, {"content", result.text}});
      stats_ = fmt::format("{} prompt tokens ({} reused) in {:.2f} s, {} tokens in {:.2f} s, cache {}", prompt_tokens,
                           result.reused_tokens, result.prefill_seconds, result.tokens.size(), result.decode_seconds,
                           base::format_bytes(static_cast<double>(result.cache_bytes)));
    } catch (const base::Error& error) {
      messages_.erase(messages_.size() - 1);  // the conversation goes on without this message
      std::cerr << "incontext: " << error.what() << "\n";
    }
  }

  const ChatArguments& arguments_;
  const decode::OpenedModel& opened_;
  decode::Engine& engine_;
  std::string system_;
  Json messages_;
  std::vector<int64_t> prompt_, answer_;  // of the last turn
  std::string stats_ = "no answer yet";
};

}  // namespace

void run_chat(const ChatArguments& arguments, Invocation&) {
  arguments.generation.compute.start_on_cpu("chat");
  const decode::OpenedModel opened =
      decode::open_model(arguments.generation.folder(/*quiet=*/false), arguments.generation.compute.operations());
  base::check(opened.chat.has_value(), "{}; use incontext generate", opened.chat_problem);
  for (const std::string& note : opened.model->notes()) std::cerr << "note: " << note << "\n";
  if (!arguments.generation.ignore_eos) std::cerr << "note: " << opened.describe_ends() << "\n";
  decode::EngineOptions options;
  options.keep_compressed = !arguments.generation.save_cache.empty();
  options.sampled_tokens = opened.sampled_tokens();
  decode::Engine engine(*opened.model, options);
  if (const int64_t loaded = load_cache(arguments.generation, opened, engine); loaded > 0) {
    std::cerr << fmt::format("note: {} tokens are remembered; an equal beginning is not computed again\n", loaded);
  }
  Chat chat(arguments, opened, engine);
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  if (terminal) std::cout << "/help tells what else there is\n";
  std::string line;
  while (true) {
    if (terminal) std::cout << "> " << std::flush;
    if (!std::getline(std::cin, line) || !chat.take(line)) break;
  }
  chat.save();
}

}  // namespace incontext::cli
