#include <memory>

#include "cli/commands.h"

namespace incontext::cli {
void add_generate_command(CLI::App& app, Invocation& invocation, const Run<GenerateArguments>& run) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* command = app.add_subcommand("generate", "Continue a text with a language model");
  arguments->generation.add_to(*command);
  command->add_option("--prompt,-p", arguments->prompt, "the text to continue")->type_name("TEXT");
  command->add_option("--file,-f", arguments->file, "read the text from a file; -: from standard input");
  command->add_flag("--chat", arguments->chat, "the text is a message; render it with the model's chat template");
  command->add_flag("--json", arguments->json, "print one JSON object");
  command->add_flag("--quiet", arguments->quiet, "no progress, no figures");
  command->footer("Example:\n  incontext generate models/Llama-3.2-1B --prompt 'Once upon a time' --max-tokens 64");
  command->callback([arguments, &invocation, run] { run(*arguments, invocation); });
}

}  // namespace incontext::cli
