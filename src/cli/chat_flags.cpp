#include <memory>

#include "cli/commands.h"

namespace incontext::cli {
void add_chat_command(CLI::App& app, Invocation& invocation, const Run<ChatArguments>& run) {
  auto arguments = std::make_shared<ChatArguments>();
  CLI::App* command = app.add_subcommand("chat", "Talk with a language model");
  arguments->generation.add_to(*command);
  command->add_option("--system", arguments->system, "system message")->type_name("TEXT");
  command->footer("Example:\n  incontext chat models/Llama-3.2-1B-Instruct --system 'Answer in one sentence.'");
  command->callback([arguments, &invocation, run] { run(*arguments, invocation); });
}

}  // namespace incontext::cli
