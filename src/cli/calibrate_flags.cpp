#include <iostream>
#include <memory>

#include "base/options.h"
#include "calibrate/lexico_options.h"
#include "cli/commands.h"

namespace incontext::cli {

void add_calibrate_command(CLI::App& app, Invocation& invocation, const Run<CalibrateLexicoArguments>& run_lexico) {
  CLI::App* calibrate = app.add_subcommand("calibrate", "Fit what a compressed cache needs to a model, once");
  calibrate->require_subcommand(1);
  auto arguments = std::make_shared<CalibrateLexicoArguments>();
  CLI::App* lexico =
      calibrate->add_subcommand("lexico", "Dictionaries of keys and values for --cache lexico:dictionary=FILE");
  lexico->add_option("model", arguments->model, "model folder or name")->type_name("MODEL");
  lexico->add_option("--text", arguments->texts, "text files to fit to, read one after the other")
      ->type_name("FILE")
      ->expected(1, 1000)
      ->take_all();
  lexico->add_option("--out", arguments->out, "where the dictionaries go; FILE.partial holds layers until all are done")
      ->type_name("FILE");
  // The options that are changed most have flags of their own.
  for (const char* name : {"atoms", "sparsity", "tokens", "steps"}) {
    lexico
        ->add_option_function<std::string>(
            std::string("--") + name,
            [arguments, name](const std::string& value) {
              arguments->named.push_back(std::string(name) + "=" + value);
            },
            std::string("the same as --set ") + name + "=N")
        ->type_name("N");
  }
  lexico->add_option("--set", arguments->assignments, "change one option, e.g. context=512")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->take_all();
  lexico->add_flag("--list-options", arguments->list_options, "print every option, and stop");
  lexico->add_flag("--download", arguments->download, "fetch a model that is not on this machine");
  lexico->add_flag("--json", arguments->json, "print one JSON object");
  lexico->add_flag("--quiet", arguments->quiet, "no progress");
  arguments->compute.add_to(*lexico);
  lexico->footer(
      "Example:\n  incontext calibrate lexico models/smollm2 --text corpus.txt --out smollm2-lexico.safetensors\n"
      "  incontext generate models/smollm2 --cache lexico:dictionary=smollm2-lexico.safetensors --prompt 'Hello'\n"
      "Stopped early, the same command goes on with the layers that are left.");
  lexico->callback([arguments, &invocation, run_lexico] {
    if (arguments->list_options) {
      std::cout << base::options_help<calibrate::LexicoCalibrationOptions>();
    } else {
      run_lexico(*arguments, invocation);
    }
  });
}

}  // namespace incontext::cli
