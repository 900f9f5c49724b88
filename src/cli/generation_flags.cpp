#include "cli/generation_flags.h"

#include <fmt/format.h>

#include "base/signals.h"
#include "cli/model_folder.h"

namespace incontext::cli {

void GenerationFlags::add_to(CLI::App& command) {
  command.add_option("model", model, "folder of a model, or org/name in the cache of Hugging Face downloads")
      ->required()
      ->type_name("MODEL");
  command.add_option("--max-tokens,-n", max_tokens, "tokens to generate at most")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--temperature", temperature, "divides the logits; 0 takes the likeliest token")
      ->check(CLI::Range(0.0, 100.0));
  command.add_option("--top-k", top_k, "only the k likeliest tokens; 0: all")->check(CLI::NonNegativeNumber);
  command.add_option("--top-p", top_p, "only the likeliest tokens that reach this probability together")
      ->check(CLI::Range(0.0, 1.0));
  command.add_option("--min-p", min_p, "only tokens with this part of the likeliest one's probability")
      ->check(CLI::Range(0.0, 1.0));
  command.add_option("--repetition-penalty", repetition_penalty, "weakens tokens that were seen")
      ->check(CLI::PositiveNumber);
  command.add_option("--presence-penalty", presence_penalty, "subtracted from logits of generated tokens");
  command.add_option("--frequency-penalty", frequency_penalty, "the same for every time");
  command.add_option("--seed", seed, "of the draws");
  command.add_option("--stop", stop, "text that ends the continuation; may be given again")->type_name("TEXT");
  command.add_flag("--ignore-eos", ignore_eos, "go on past the token that ends a text");
  command
      .add_option("--cache", cache,
                  fmt::format("how the past is kept: {}, perhaps with options, such as kivi:bits=4 (docs/caches.md)",
                              kCacheKinds))
      ->type_name("POLICY")
      ->capture_default_str();
  command.add_option("--save-cache", save_cache, "write what the model remembers of prompt and answer to this file")
      ->type_name("FILE");
  command
      .add_option("--load-cache", load_cache,
                  "begin with what --save-cache wrote: a prompt that begins with the "
                  "same tokens is not computed again")
      ->type_name("FILE");
  command.add_flag("--download", download, "fetch the model from the Hugging Face hub if it is not in the cache");
  compute.add_to(command);
  compute.add_inference_precision_to(command);
}

std::filesystem::path GenerationFlags::folder(bool quiet) const {
  const base::StopRequest interrupt("stopping the download; what was fetched stays, and is gone on with");
  hub::FindOptions options;
  options.download = download;
  options.transfer.stop_requested = [&] { return interrupt.requested(); };
  options.transfer.quiet = quiet;
  return find_model_folder(model, options);
}

}  // namespace incontext::cli
