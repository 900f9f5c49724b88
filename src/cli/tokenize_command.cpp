#include <iostream>
#include <memory>

#include "base/config_node.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/model_folder.h"
#include "text/tokenizer.h"

namespace incontext::cli {
namespace {

struct TokenizeArguments {
  std::string model, text, file;
  bool decode = false;
  bool no_special = false;
  bool skip_special = false;
  bool json = false;
};

std::string input(const TokenizeArguments& arguments) {
  base::check(arguments.text.empty() || arguments.file.empty(), "tokenize: expected --text or --file, got both");
  if (!arguments.file.empty() && arguments.file != "-") return base::read_file(arguments.file);
  if (!arguments.text.empty()) return arguments.text;
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

// Ids apart by anything but digits: "1 2 3", "[1, 2, 3]".
std::vector<int64_t> parse_ids(const std::string& text) {
  std::vector<int64_t> ids;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (std::string(" \t\r\n,[]").find(c) != std::string::npos) {
      ++at;
      continue;
    }
    const size_t end = text.find_first_not_of("0123456789", at);
    const std::string digits = text.substr(at, end == std::string::npos ? end : end - at);
    base::check(!digits.empty() && digits.size() <= 18, "tokenize: expected token ids, got '{}'", text.substr(at, 20));
    ids.push_back(std::stoll(digits));
    at += digits.size();
  }
  return ids;
}

void run_tokenize(const TokenizeArguments& arguments) {
  const auto tokenizer = text::Tokenizer::open(find_model_folder(arguments.model));
  std::vector<int64_t> ids;
  std::string text = input(arguments);
  if (arguments.decode) {
    ids = parse_ids(text);
    text = tokenizer->decode(ids, arguments.skip_special);
  } else {
    ids = tokenizer->encode(text, !arguments.no_special);
  }
  if (arguments.json) {
    using base::Json;
    std::cout << Json{{"tokens", ids}, {"text", text}}.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
  } else if (arguments.decode) {
    std::cout << text << "\n";
  } else {
    std::cout << fmt::format("{}\n", fmt::join(ids, " "));
  }
}

}  // namespace

void add_tokenize_command(CLI::App& app) {
  auto arguments = std::make_shared<TokenizeArguments>();
  CLI::App* command = app.add_subcommand("tokenize", "Text to token ids, or back");
  command->add_option("model", arguments->model, "folder of a model, or org/name")->required()->type_name("MODEL");
  command->add_option("--text,-p", arguments->text, "the text; without it and --file, standard input")
      ->type_name("TEXT");
  command->add_option("--file,-f", arguments->file, "read the text from a file");
  command->add_flag("--decode", arguments->decode, "the input is token ids; give their text");
  command->add_flag("--no-special-tokens", arguments->no_special, "without the tokens put around a text");
  command->add_flag("--skip-special-tokens", arguments->skip_special, "leave them out of decoded text");
  command->add_flag("--json", arguments->json, "print one JSON object");
  command->footer("Example:\n  incontext tokenize models/Llama-3.2-1B --text 'Hello, world'");
  command->callback([arguments] { run_tokenize(*arguments); });
}

}  // namespace incontext::cli
