#include <fmt/format.h>

#include <memory>

#include "cli/commands.h"

namespace incontext::cli {
namespace {

void add_limits(CLI::App& command, ServeArguments& arguments) {
  serve::ServerOptions& server = arguments.server;
  command.add_option("--max-tokens", server.limits.max_tokens, "tokens of one continuation at most; 0: the context")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--default-tokens", server.limits.default_chat_tokens, "of an answer in a chat that says nothing")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--max-choices", server.limits.max_choices, "continuations of one request at most")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--max-waiting", server.max_waiting, "continuations that may wait; more are told 429")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--max-connections", server.max_connections, "connections at once; more wait")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command.add_option("--max-body", server.max_body, "bytes of a request at most")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--timeout", arguments.timeout, "seconds that a request may take")
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str();
  command.add_option("--max-batch", arguments.engine.max_batch, "continuations that run at once; more wait")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      .add_option("--cache-memory", arguments.engine.cache_memory,
                  "bytes that all caches may hold (64MiB, 8GiB); 0: half of the memory that is left")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false));
}

}  // namespace

void add_serve_command(CLI::App& app, Invocation& invocation, const Run<ServeArguments>& run) {
  auto arguments = std::make_shared<ServeArguments>();
  serve::ServerOptions& server = arguments->server;
  CLI::App* command = app.add_subcommand("serve", "Answer requests over HTTP, as OpenAI's interface has them");
  command
      ->add_option("model", arguments->model, "folder of a model, or org/name in the cache of Hugging Face downloads")
      ->required()
      ->type_name("MODEL");
  command->add_option("--host", server.host, "address to listen on")->capture_default_str();
  command->add_option("--port", server.port, "0: a free one")->check(CLI::Range(0, 65535))->capture_default_str();
  command->add_option("--name", arguments->names, "what clients call the model; may be given again")->type_name("NAME");
  command->add_option("--api-key", server.keys, "ask for this key; may be given again")->type_name("KEY");
  command->add_option("--api-key-file", arguments->key_file, "the same from a file, one key per line")
      ->type_name("FILE");
  command->add_option("--cors-origin", server.cors_origins, "let browsers call from this page; *: from any")
      ->type_name("ORIGIN");
  command->add_option("--tls-cert", server.tls_certificate, "speak HTTPS with this certificate")->type_name("FILE");
  command->add_option("--tls-key", server.tls_key, "and its key")->type_name("FILE");
  command
      ->add_option("--cache", arguments->caches,
                   fmt::format("cache policy where a request names none: {}, perhaps with options; given again, more "
                               "that requests may name (docs/serving.md)",
                               kCacheKinds))
      ->type_name("POLICY")
      ->expected(1)
      ->take_all()
      ->default_str("full");
  add_limits(*command, *arguments);
  command->add_flag("--download", arguments->download,
                    "fetch the model from the Hugging Face hub if it is not in the cache");
  arguments->compute.add_to(*command);
  arguments->compute.add_inference_precision_to(*command);
  command->footer(
      "Example:\n  incontext serve models/Llama-3.2-1B-Instruct --port 8080\n"
      "  curl 127.0.0.1:8080/v1/completions -d '{\"prompt\": \"Once upon a time\"}'");
  command->callback([arguments, &invocation, run] { run(*arguments, invocation); });
}

}  // namespace incontext::cli
