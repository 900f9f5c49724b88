#include <iostream>
#include <memory>

#include "base/progress.h"
#include "base/signals.h"
#include "base/text.h"
#include "calibrate/lexico.h"
#include "cli/commands.h"
#include "cli/model_folder.h"
#include "decode/opened_model.h"
#include "ops/settings.h"
#include "tasks/documents.h"
#include "tensor/device.h"

namespace incontext::cli {
namespace {

/// The tokens of the texts, one after the other.
std::vector<int64_t> read_texts(const CalibrateLexicoArguments& arguments, const decode::OpenedModel& opened,
                                int64_t most) {
  std::vector<std::string> notes;
  const std::vector<std::string> documents = tasks::read_documents(arguments.texts, &notes);
  for (const std::string& note : notes) std::cerr << "note: " << note << "\n";
  std::vector<int64_t> tokens;
  for (const std::string& document : documents) {
    // More than the tokens that are wanted need: few tokens are as long.
    constexpr size_t kBytesOfToken = 16;
    size_t enough = std::min(document.size(), (static_cast<size_t>(most) - tokens.size()) * kBytesOfToken);
    while (enough < document.size() && (static_cast<unsigned char>(document[enough]) & 0xC0U) == 0x80U) --enough;
    const std::vector<int64_t> read = opened.tokenizer->encode(document.substr(0, enough));
    tokens.insert(tokens.end(), read.begin(), read.end());
    if (static_cast<int64_t>(tokens.size()) >= most) break;
  }
  return tokens;
}

void print_report(const CalibrateLexicoArguments& arguments, const calibrate::LexicoCalibrationOptions& options,
                  const calibrate::LexicoCalibrationReport& report) {
  const auto count = static_cast<double>(std::max<size_t>(1, report.layers.size()));
  double keys = 0, values = 0, random_keys = 0, random_values = 0;
  base::Json layers = base::Json::array();
  for (const calibrate::LexicoLayerReport& each : report.layers) {
    keys += each.key_error / count;
    values += each.value_error / count;
    random_keys += each.random_key_error / count;
    random_values += each.random_value_error / count;
    layers.push_back({{"layer", each.layer},
                      {"key_error", each.key_error},
                      {"value_error", each.value_error},
                      {"random_key_error", each.random_key_error},
                      {"random_value_error", each.random_value_error}});
  }
  if (arguments.json) {
    std::cout << base::Json{{"out", arguments.out},
                            {"finished", report.finished},
                            {"tokens", report.tokens},
                            {"bytes", report.bytes},
                            {"resumed_layers", report.resumed_layers},
                            {"sparsity", options.sparsity},
                            {"key_error", keys},
                            {"value_error", values},
                            {"random_key_error", random_keys},
                            {"random_value_error", random_values},
                            {"layers", layers}}
                     .dump()
              << "\n";
    return;
  }
  if (!report.finished) {
    std::cout << fmt::format("Stopped early. The same command goes on; layers that are done are in {}.partial\n",
                             arguments.out);
    return;
  }
  std::cout << fmt::format(
      "{}: {} layers, {} atoms each for keys and values, {}\n"
      "Held-out vectors with {} non-zeros: mean error of keys {:.3f} (random atoms {:.3f}), of values {:.3f} ({:.3f})\n"
      "Use it: --cache lexico:dictionary={}\n",
      arguments.out, report.layers.size(), options.atoms, base::format_bytes(static_cast<double>(report.bytes)),
      options.sparsity, keys, random_keys, values, random_values, arguments.out);
}

}  // namespace

void run_calibrate_lexico(const CalibrateLexicoArguments& arguments, Invocation& invocation) {
  base::check(!arguments.model.empty(), "calibrate lexico: expected a MODEL (incontext calibrate lexico --help)");
  base::check(!arguments.texts.empty(), "calibrate lexico: expected --text FILE (incontext calibrate lexico --help)");
  base::check(!arguments.out.empty(), "calibrate lexico: expected --out FILE (incontext calibrate lexico --help)");
  calibrate::LexicoCalibrationOptions options;
  std::vector<std::string> assignments = arguments.named;
  assignments.insert(assignments.end(), arguments.assignments.begin(), arguments.assignments.end());
  read_config("", assignments, options);
  arguments.compute.start_on_cpu("calibrate");
  const decode::OpenedModel opened = decode::open_model(
      find_model_folder(arguments.model, {.download = arguments.download}), arguments.compute.operations());
  const std::vector<int64_t> tokens = read_texts(arguments, opened, options.tokens);
  const base::StopRequest stop("stopping; layers that are done are kept, and the same command goes on");
  std::unique_ptr<base::Progress> progress;
  constexpr int64_t kTicks = 1000;
  if (!arguments.quiet) progress = std::make_unique<base::Progress>("calibrate lexico", kTicks, "");
  const calibrate::LexicoCalibrationReport report =
      calibrate::calibrate_lexico(*opened.model, tokens, options, arguments.out,
                                  {.progress =
                                       [&](double done, const std::string& what) {
                                         if (progress) progress->update(static_cast<int64_t>(done * kTicks), what);
                                       },
                                   .stopped = [&] { return stop.requested(); }});
  if (progress) progress->finish();
  print_report(arguments, options, report);
  if (!report.finished) invocation.exit_status = stop.exit_status();
}

}  // namespace incontext::cli
