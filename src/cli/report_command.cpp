#include <filesystem>
#include <iostream>

#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"
#include "report/summary.h"

namespace incontext::cli {
namespace {

struct ReportArguments {
  std::vector<std::string> directories;
  std::string out;
  std::string markdown;
  std::string csv;
  bool json = false;
};

void run_report(const ReportArguments& arguments) {
  base::check(!arguments.directories.empty(), "report: expected a run directory (incontext report --help)");
  std::vector<report::RunRecords> runs;
  for (const std::string& directory : arguments.directories) runs.push_back(report::read_run(directory));
  if (!arguments.out.empty()) report::write_report(runs, arguments.out);
  if (!arguments.markdown.empty()) base::write_file_atomic(arguments.markdown, report::markdown_summary(runs));
  if (!arguments.csv.empty()) base::write_file_atomic(arguments.csv, report::csv_summary(runs));
  if (arguments.json) {
    base::Json files = base::Json::array();
    for (const std::string& file : {arguments.out, arguments.markdown, arguments.csv}) {
      if (!file.empty()) files.push_back(file);
    }
    base::Json names = base::Json::array();
    size_t records = 0;
    for (const report::RunRecords& run : runs) {
      names.push_back(run.name);
      records += run.records.size();
    }
    std::cout << base::Json{{"files", files}, {"runs", names}, {"records", records}}.dump() << "\n";
    return;
  }
  std::cout << report::terminal_summary(runs);
  if (!arguments.out.empty()) std::cout << "\nReport: " << arguments.out << "\n";
}

}  // namespace

void add_report_command(CLI::App& app) {
  auto arguments = std::make_shared<ReportArguments>();
  CLI::App* command = app.add_subcommand("report", "Tables and plots of what was measured, as one HTML page");
  command->add_option("directories", arguments->directories, "run directories")->type_name("DIR");
  command->add_option("--out", arguments->out, "HTML page to write")->type_name("FILE.html");
  command->add_option("--markdown", arguments->markdown, "tables in Markdown")->type_name("FILE.md");
  command->add_option("--csv", arguments->csv, "every measured point")->type_name("FILE.csv");
  command->add_flag("--json", arguments->json, "print one JSON object");
  command->footer("Example:\n  incontext report runs/looped runs/transformer --out report.html");
  command->callback([arguments] { run_report(*arguments); });
}

}  // namespace incontext::cli
