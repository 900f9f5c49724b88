#include <unistd.h>

#include <chrono>
#include <iostream>

#include "base/file.h"
#include "base/progress.h"
#include "base/signals.h"
#include "base/text.h"
#include "cli/cache_file.h"
#include "cli/commands.h"
#include "cli/generation_flags.h"
#include "cli/terminal.h"
#include "decode/continuation.h"
#include "ops/settings.h"
#include "tensor/device.h"

namespace incontext::cli {
namespace {

std::string read_prompt(const GenerateArguments& arguments) {
  base::check(arguments.prompt.empty() || arguments.file.empty(), "generate: expected --prompt or --file, got both");
  if (arguments.file == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  if (!arguments.file.empty()) return base::read_file(arguments.file);
  return arguments.prompt;
}

std::vector<int64_t> encode(const GenerateArguments& arguments, const decode::OpenedModel& opened) {
  const std::string prompt = read_prompt(arguments);
  if (arguments.chat) return opened.encode_chat(base::Json::array({{{"role", "user"}, {"content", prompt}}}), nullptr);
  std::vector<int64_t> tokens = opened.tokenizer->encode(prompt);
  base::check(!tokens.empty(), "generate: the prompt holds no token; expected --prompt TEXT or --file FILE");
  return tokens;
}

}  // namespace

void run_generate(const GenerateArguments& arguments, Invocation& invocation) {
  const auto start = std::chrono::steady_clock::now();
  const GenerationFlags& flags = arguments.generation;
  flags.compute.start_on_cpu("generate");
  const bool quiet = arguments.quiet || arguments.json;
  const decode::OpenedModel opened = decode::open_model(flags.folder(quiet), flags.compute.operations());
  const double load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (const std::string& note : opened.model->notes()) {
    if (!quiet) std::cerr << "note: " << note << "\n";
  }
  decode::GenerationRequest request = flags.request(opened);
  request.prompt = encode(arguments, opened);
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  // The context may have less room than was asked for at most.
  request.max_tokens =
      std::max<int64_t>(0, std::min(request.max_tokens, opened.model->config().context - prompt_tokens));
  decode::EngineOptions options;
  options.keep_compressed = !arguments.generation.save_cache.empty();
  // Nobody comes after this prompt.
  if (arguments.generation.save_cache.empty() && arguments.generation.load_cache.empty()) options.prefix_memory = 0;
  options.sampled_tokens = opened.sampled_tokens();
  if (flags.save_cache.empty() && flags.load_cache.empty()) options.prefix_memory = 0;
  decode::Engine engine(*opened.model, options);
  engine.check_policy(request.policy);
  const int64_t loaded = load_cache(flags, opened, engine);
  const std::vector<int64_t> prompt = request.prompt;
  if (!quiet && !flags.ignore_eos) std::cerr << "note: " << opened.describe_ends() << "\n";

  base::StopRequest interrupt("stopping after this token");
  decode::ContinuationEvents events;
  events.cancelled = [&] { return interrupt.requested(); };
  std::unique_ptr<base::Progress> progress;
  if (!quiet && prompt_tokens > options.prompt_part) {
    progress = std::make_unique<base::Progress>("prompt", prompt_tokens, "tokens");
    events.on_prompt = [&](int64_t done) {
      progress->update(done, "");
      if (done == prompt_tokens) progress->finish();
    };
  }
  if (!arguments.json) {
    const bool terminal = ::isatty(STDOUT_FILENO) == 1;
    events.on_text = [terminal](const std::string& text) {
      std::cout << (terminal ? for_terminal(text) : text) << std::flush;
    };
  }
  const decode::Continuation result = decode::run_continuation(engine, opened, std::move(request), flags.stop, events);
  save_cache(flags, opened, engine, prompt, result.tokens);
  if (arguments.json) {
    const base::Json json = {
        {"text", result.text},
        {"tokens", result.tokens},
        {"finish_reason", result.finish_reason},
        {"prompt_tokens", prompt_tokens},
        {"reused_tokens", result.reused_tokens},
        {"seconds", {{"load", load_seconds}, {"prefill", result.prefill_seconds}, {"decode", result.decode_seconds}}},
        {"cache_bytes", result.cache_bytes},
        {"cache", flags.cache}};
    std::cout << json.dump() << "\n";
  } else {
    std::cout << "\n";
    if (!quiet) {
      const auto generated = static_cast<double>(result.tokens.size());
      if (loaded > 0) {
        std::cerr << fmt::format("{} of the {} tokens in {} were reused\n", result.reused_tokens, loaded,
                                 flags.load_cache);
      }
      std::cerr << fmt::format("{} prompt tokens in {:.2f} s, {} tokens in {:.2f} s ({:.1f} per second), cache {}\n",
                               prompt_tokens, result.prefill_seconds, result.tokens.size(), result.decode_seconds,
                               generated / std::max(result.decode_seconds, 1e-9),
                               base::format_bytes(static_cast<double>(result.cache_bytes)));
    }
  }
  if (interrupt.requested()) invocation.exit_status = interrupt.exit_status();
}

}  // namespace incontext::cli
