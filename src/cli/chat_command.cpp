#include <unistd.h>

#include <iostream>

#include "base/signals.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/generation_flags.h"
#include "cli/terminal.h"
#include "decode/continuation.h"

namespace incontext::cli {
namespace {

using base::Json;

struct ChatArguments {
  GenerationFlags generation;
  std::string system;
  ChatArguments() { generation.max_tokens = 1024; }
};

constexpr const char* kHelp =
    "/clear  begin again\n/system TEXT  begin again with this system message\n/stats  what the last answer took\n"
    "/exit  leave (or Ctrl-D); Ctrl-C ends an answer\n";

class Chat {
 public:
  Chat(const ChatArguments& arguments, const decode::OpenedModel& opened, decode::Engine& engine)
      : arguments_(arguments), opened_(opened), engine_(engine) {
    begin(arguments.system);
  }

  /// Takes a line; false: leave.
  bool take(const std::string& line) {
    if (line == "/exit" || line == "/quit") return false;
    if (line == "/clear") {
      begin(system_);
    } else if (line.starts_with("/system ")) {
      begin(line.substr(8));
    } else if (line == "/stats") {
      std::cout << stats_ << "\n";
    } else if (line.starts_with("/")) {
      std::cout << kHelp;
    } else if (!base::trim(line).empty()) {
      answer(line);
    }
    return true;
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
  std::string stats_ = "no answer yet";
};

void run_chat(const ChatArguments& arguments) {
  arguments.generation.compute.start();
  const decode::OpenedModel opened =
      decode::open_model(arguments.generation.folder(/*quiet=*/false), arguments.generation.compute.operations());
  base::check(opened.chat.has_value(), "{}; use incontext generate", opened.chat_problem);
  decode::EngineOptions options;
  options.sampled_tokens = opened.sampled_tokens();
  decode::Engine engine(*opened.model, options);
  Chat chat(arguments, opened, engine);
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  if (terminal) std::cout << "/help tells what else there is\n";
  std::string line;
  while (true) {
    if (terminal) std::cout << "> " << std::flush;
    if (!std::getline(std::cin, line) || !chat.take(line)) break;
  }
}

}  // namespace

void add_chat_command(CLI::App& app, Invocation&) {
  auto arguments = std::make_shared<ChatArguments>();
  CLI::App* command = app.add_subcommand("chat", "Talk with a language model");
  arguments->generation.add_to(*command);
  command->add_option("--system", arguments->system, "system message")->type_name("TEXT");
  command->footer("Example:\n  incontext chat models/Llama-3.2-1B-Instruct --system 'Answer in one sentence.'");
  command->callback([arguments] { run_chat(*arguments); });
}

}  // namespace incontext::cli
