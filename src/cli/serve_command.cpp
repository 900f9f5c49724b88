#include <chrono>
#include <filesystem>
#include <iostream>
#include <thread>

#include "base/file.h"
#include "base/signals.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/model_folder.h"
#include "cli/shared_flags.h"
#include "decode/engine.h"
#include "decode/opened_model.h"
#include "serve/access.h"
#include "serve/engine_backend.h"
#include "serve/server.h"

namespace incontext::cli {
namespace {

struct ServeArguments {
  std::string model;
  std::vector<std::string> names;
  std::string key_file;
  double timeout = 600;
  bool download = false;
  ComputeFlags compute;
  decode::EngineOptions engine;
  serve::ServerOptions server;
};

// Beside --api-key: one key per line of the file; empty lines and those that begin with # are passed over.
void add_keys_of_file(const std::string& path, std::vector<std::string>& keys) {
  if (path.empty()) return;
  size_t found = 0;
  for (const std::string& line : base::split(base::read_file(path), '\n')) {
    const std::string_view key = base::trim(line);
    if (key.empty() || key.starts_with("#")) continue;
    keys.emplace_back(key);
    ++found;
  }
  base::check(found > 0, "{}: expected a key on a line", path);
}

std::filesystem::path folder_of(const ServeArguments& arguments) {
  const base::StopRequest interrupt("stopping the download; what was fetched stays, and is gone on with");
  hub::FindOptions options;
  options.download = arguments.download;
  options.transfer.stop_requested = [&] { return interrupt.requested(); };
  return find_model_folder(arguments.model, options);
}

std::vector<std::string> names_of(const ServeArguments& arguments, const std::filesystem::path& folder) {
  if (!arguments.names.empty()) return arguments.names;
  // A folder is known by its own name, a model of the hub by the one it has there.
  if (!std::filesystem::exists(arguments.model)) return {arguments.model};
  const std::filesystem::path whole = std::filesystem::weakly_canonical(folder);
  return {whole.filename().string()};
}

void run_serve(ServeArguments arguments) {
  add_keys_of_file(arguments.key_file, arguments.server.keys);
  for (const std::string& key : arguments.server.keys) base::check(!key.empty(), "--api-key: expected a key, got none");
  base::check(arguments.server.tls_certificate.empty() == arguments.server.tls_key.empty(),
              "serve: expected --tls-cert and --tls-key together");
  arguments.server.request_timeout = std::chrono::milliseconds(static_cast<int64_t>(arguments.timeout * 1000));
  const std::filesystem::path folder = folder_of(arguments);
  serve::Server server(arguments.server);  // says that it is loading from here on
  arguments.compute.start();
  const decode::OpenedModel opened = decode::open_model(folder, arguments.compute.operations());
  for (const std::string& note : opened.model->notes()) std::cerr << "note: " << note << "\n";
  if (!opened.chat) std::cerr << "note: " << base::printable(opened.chat_problem) << "; chats are refused\n";
  arguments.engine.sampled_tokens = opened.sampled_tokens();
  const std::unique_ptr<serve::Backend> backend =
      serve::make_engine_backend(opened, arguments.engine, names_of(arguments, folder));
  backend->check_cache(arguments.server.limits.cache);
  const base::StopRequest interrupt("finishing what runs, refusing the rest");
  server.serve(*backend);
  std::cout << "Serving " << base::printable(backend->card().names.front()) << " at " << server.url() << std::endl;
  if (arguments.server.keys.empty() && !serve::is_loopback(arguments.server.host)) {
    std::cerr << "note: whoever reaches " << arguments.server.host
              << " may use this server; --api-key asks for a key\n";
  }
  while (!interrupt.requested()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  server.stop();
}

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

void add_serve_command(CLI::App& app, Invocation&) {
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
  command->add_option("--cache", server.limits.cache, "cache policy where a request names none")->capture_default_str();
  add_limits(*command, *arguments);
  command->add_flag("--download", arguments->download,
                    "fetch the model from the Hugging Face hub if it is not in the cache");
  arguments->compute.add_to(*command);
  arguments->compute.add_inference_precision_to(*command);
  command->footer(
      "Example:\n  incontext serve models/Llama-3.2-1B-Instruct --port 8080\n"
      "  curl 127.0.0.1:8080/v1/completions -d '{\"prompt\": \"Once upon a time\"}'");
  command->callback([arguments] { run_serve(*arguments); });
}

}  // namespace incontext::cli
