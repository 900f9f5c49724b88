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
#include "ops/settings.h"
#include "serve/access.h"
#include "serve/engine_backend.h"
#include "serve/server.h"
#include "tensor/device.h"

namespace incontext::cli {
namespace {

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

}  // namespace

void run_serve(const ServeArguments& given, Invocation&) {
  ServeArguments arguments = given;
  add_keys_of_file(arguments.key_file, arguments.server.keys);
  for (const std::string& key : arguments.server.keys) base::check(!key.empty(), "--api-key: expected a key, got none");
  base::check(arguments.server.tls_certificate.empty() == arguments.server.tls_key.empty(),
              "serve: expected --tls-cert and --tls-key together");
  arguments.server.request_timeout = std::chrono::milliseconds(static_cast<int64_t>(arguments.timeout * 1000));
  arguments.compute.start_on_cpu("serve");
  const std::filesystem::path folder = folder_of(arguments);
  serve::Server server(arguments.server);  // says that it is loading from here on
  const decode::OpenedModel opened = decode::open_model(folder, arguments.compute.operations());
  for (const std::string& note : opened.model->notes()) std::cerr << "note: " << note << "\n";
  if (!opened.chat) std::cerr << "note: " << base::printable(opened.chat_problem) << "; chats are refused\n";
  arguments.engine.sampled_tokens = opened.sampled_tokens();
  const std::unique_ptr<serve::Backend> backend =
      serve::make_engine_backend(opened, arguments.engine, names_of(arguments, folder), arguments.caches);
  std::cerr << "note: " << opened.describe_ends() << "\n";
  const base::StopRequest interrupt("finishing what runs, refusing the rest");
  server.serve(*backend);
  std::cout << "Serving " << base::printable(backend->card().names.front()) << " at " << server.url() << std::endl;
  if (arguments.server.keys.empty() && !server.loopback()) {
    std::cerr << "note: whoever reaches " << arguments.server.host
              << " may use this server; --api-key asks for a key\n";
  }
  while (!interrupt.requested()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  server.stop();
}

}  // namespace incontext::cli
