#include "report/summary.h"

#include <cmath>

#include "base/file.h"
#include "base/text.h"
#include "report/markup.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::report {
namespace {

using base::Json;
using base::Record;
using testing::contains;
using testing::error_of;
using testing::TemporaryDirectory;

Record error_record(const std::string& run, const std::string& predictor, int64_t examples, double value) {
  Record record{.what = "squared_error", .value = value, .unit = "per dimension"};
  record.low = 0.9 * value;
  record.high = 1.1 * value;
  record.has_interval = true;
  record.setting = {{"run", run}, {"task", "linear_regression"}, {"prompt", "standard"}, {"predictor", predictor},
                    {"dims", 10}, {"examples", examples},        {"step", 2000},         {"seed", 1}};
  record.command = "incontext eval runs/" + run;
  record.version = "0.1.0";
  record.machine = "abacus";
  return record;
}

RunRecords example(const std::string& name, double factor) {
  RunRecords run{.name = name};
  run.config_yaml = "model:\n  loops: " + std::to_string(factor) + "\n  width: 64\nsizes: [1, 2]\n";
  for (int64_t step = 0; step < 1000; ++step) {
    const double value = std::exp(-static_cast<double>(step) / 300) * factor;
    run.records.push_back({.what = "training_loss", .value = value, .setting = {{"run", name}, {"step", step}}});
    run.records.push_back({.what = "gradient_norm", .value = 2 * value, .setting = {{"run", name}, {"step", step}}});
  }
  for (int64_t n = 0; n <= 41; n += n < 40 ? 2 : 1) {
    const double x = static_cast<double>(n);
    run.records.push_back(error_record(name, "model", n, factor * 0.05 + std::exp(-x / 6)));
    run.records.push_back(error_record(name, "least_squares", n, n < 10 ? 1 - x / 10 : 1e-9));
    run.records.push_back(error_record(name, "zero", n, 1));
  }
  for (int64_t loops = 1; loops <= 30; ++loops) {
    Record record = error_record(name, "model", 20, factor * (0.01 + std::exp(-static_cast<double>(loops) / 3)));
    record.what = "squared_error_by_loop";
    record.setting["loops"] = loops;
    record.setting["trained_loops"] = 12;
    run.records.push_back(record);
  }
  run.records.push_back({.what = "ratio", .value = 1.25, .setting = {{"model", name}}});
  return run;
}

TEST(Summary, ShowsErrorsAtDimsTwiceAndLast) {
  const std::string text = terminal_summary({example("looped", 1)});
  EXPECT_CONTAINS(text,
                  "Squared error, per dimension (task linear_regression, prompt standard, dims 10, at 41)\n"
                  "run     predictor");
  const auto row_of = [&](const std::string& predictor) {
    for (const std::string& line : base::split(text, '\n')) {
      if (contains(line, predictor)) return line;
    }
    return std::string("absent");
  };
  EXPECT_CONTAINS(row_of("model"), "0.239 (0.215 to 0.263)  0.0857 (0.0771 to 0.0942)  0.0511 (0.046 to 0.0562)");
  EXPECT_CONTAINS(row_of("zero"), "1 (0.9 to 1.1)");
  EXPECT_CONTAINS(row_of("least squares"), "1e-09");
  EXPECT_CONTAINS(text, "ratio");
  EXPECT_CONTAINS(text, "1.25");
  for (const std::string& line : base::split(text, '\n')) EXPECT_LE(base::display_width(line), 100U) << line;
}

TEST(Summary, LaterLinesAndLaterStepsWin) {
  RunRecords run{.name = "r"};
  run.records = {error_record("r", "model", 10, 5), error_record("r", "model", 10, 3)};
  run.records.push_back(error_record("r", "model", 10, 4));
  run.records.back().setting["step"] = 1000;
  EXPECT_EQ(error_table(merge_runs({run})).rows.at(0).at(2), "3 (2.7 to 3.3)");
}

TEST(Summary, RunsStandBesideEachOther) {
  const Table table = error_table(merge_runs({example("looped", 1), example("standard", 2)}));
  // The runs, then once the methods that they share.
  std::vector<std::vector<std::string>> beginnings;
  for (const auto& row : table.rows) beginnings.push_back({row[0], row[1]});
  EXPECT_EQ(beginnings,
            (std::vector<std::vector<std::string>>{
                {"looped", "model"}, {"standard", "model"}, {"all runs", "least squares"}, {"all runs", "zero"}}));
  RunRecords unnamed{.name = "folder"};
  unnamed.records = {error_record("x", "model", 10, 5)};
  unnamed.records[0].setting.erase("run");
  EXPECT_EQ(error_table(merge_runs({unnamed})).rows[0][0], "folder");
}

TEST(Summary, MethodsAreSharedWhereTheirNumbersAreTheSame) {
  RunRecords a{.name = "a"}, b{.name = "b"}, c{.name = "c"};
  for (RunRecords* run : {&a, &b, &c}) run->records.push_back(error_record(run->name, "zero", 10, run == &c ? 2 : 1));
  for (RunRecords* run : {&a, &b, &c}) run->records.push_back(error_record(run->name, "model", 10, 3));  // by chance
  Record scaled = error_record("c", "zero", 10, 9);
  scaled.setting["prompt"] = "scaled_inputs";
  c.records.push_back(scaled);
  const Table table = error_table(merge_runs({a, b, c}));
  std::vector<std::vector<std::string>> beginnings;
  for (const auto& row : table.rows) beginnings.push_back({row[0], row[1], row[2]});
  EXPECT_EQ(beginnings, (std::vector<std::vector<std::string>>{{"a", "standard", "model"},
                                                               {"b", "standard", "model"},
                                                               {"c", "standard", "model"},
                                                               {"a, b", "standard", "zero"},
                                                               {"c", "standard", "zero"},
                                                               {"c", "scaled_inputs", "zero"}}));
}

TEST(Summary, PlotsShowASharedMethodOnceWithItsInterval) {
  const TemporaryDirectory directory;
  write_report({example("looped", 1), example("standard", 2)}, directory / "report.html");
  // The last point of the method "zero": value, interval, and one record behind it.
  EXPECT_CONTAINS(
      base::read_file(directory / "report.html"),
      "<tr><td>zero</td><td class=\"number\">41</td><td class=\"number\">1</td><td class=\"number\">0.9</td>"
      "<td class=\"number\">1.1</td><td class=\"number\">1</td></tr>");
}

TEST(Summary, WritesMarkdownAndCsv) {
  const std::vector<RunRecords> runs = {example("looped, small", 1)};
  EXPECT_CONTAINS(markdown_summary(runs), "| looped, small | least squares | 1e-09 (9e-10 to 1.1e-09) |");
  const std::string csv = csv_summary(runs);
  EXPECT_CONTAINS(csv, "what,run,task,prompt,dims,predictor,loops,examples,value,low,high,records\n");
  EXPECT_CONTAINS(csv, "squared_error,\"looped, small\",linear_regression,standard,10,zero,,41,1,0.9,1.1,1\n");
  EXPECT_CONTAINS(csv, "squared_error_by_loop,\"looped, small\",linear_regression,standard,10,model,30,20,0.01");
  EXPECT_CONTAINS(csv, "ratio,\"looped, small\",,,,\"looped, small\",,,1.25,,,1\n");
  EXPECT_EQ(base::split(csv, '\n').size(), 1U + 3 * 22 + 30 + 1 + 1);
}

TEST(Summary, MissingRecordsAreClearErrors) {
  EXPECT_EQ(error_of([] { terminal_summary({}); }), "report: expected at least one run");
  EXPECT_EQ(error_of([] {
              terminal_summary({example("a", 1), {.name = "b"}});
            }),
            "report: run 'b' holds no records; expected lines in its records.jsonl");
  RunRecords other{.name = "c"};
  other.records = {{.what = "temperature", .value = 1}};
  EXPECT_EQ(error_of([&] { markdown_summary({other}); }),
            "report: expected records of errors, losses, speeds or caches in c, got none");
  EXPECT_EQ(error_of([&] { csv_summary({other}); }),
            "report: expected records of errors, losses, speeds or caches, got none");
  const TemporaryDirectory directory;
  EXPECT_CONTAINS(error_of([&] { read_run(directory.path()); }), "expected a file records.jsonl");
  EXPECT_CONTAINS(error_of([&] { read_run(directory / "gone"); }), "expected a run directory");
}

TEST(Summary, ReadsARunDirectory) {
  const TemporaryDirectory directory;
  base::make_directories(directory / "looped");
  base::RecordWriter(directory / "looped/records.jsonl", "c").write({.what = "training_loss", .value = 2});
  EXPECT_EQ(read_run(directory / "looped").config_yaml, "");
  base::write_file_atomic(directory / "looped/config.yaml", "steps: 3\n");
  const RunRecords run = read_run(directory / "looped/");
  EXPECT_EQ(run.name, "looped");
  EXPECT_EQ(run.records.size(), 1U);
  EXPECT_EQ(run.config_yaml, "steps: 3\n");
}

TEST(Summary, TheReportIsOneWellFormedPage) {
  const TemporaryDirectory directory;
  write_report({example("looped", 1), example("standard <b>", 2)}, directory / "report.html");
  const std::string html = base::read_file(directory / "report.html");
  EXPECT_EQ(testing::markup_fault(html), "");
  for (const char* part : {"Error against the number of examples", "Error against the number of loops", ">trained: 12<",
                           "training loss", "gradient norm", "linear regression, standard prompts, 10 dimensions",
                           "squared error, per dimension", "incontext eval runs/looped", "abacus", "model.loops",
                           "Options in which the runs differ", "standard &lt;b&gt;", "[1, 2]"}) {
    EXPECT_CONTAINS(html, part);
  }
}

TEST(Summary, TheReportLeavesOutWhatWasNotMeasured) {
  const TemporaryDirectory directory;
  RunRecords run{.name = "short"};
  run.records = {{.what = "training_loss", .value = NAN, .setting = {{"step", 1}}}};
  write_report({run}, directory / "report.html");
  const std::string html = base::read_file(directory / "report.html");
  EXPECT_EQ(testing::markup_fault(html), "");
  EXPECT_FALSE(contains(html, "number of loops"));
  EXPECT_CONTAINS(html, "there is no finite point to draw");
  run.config_yaml = "a: [1";
  EXPECT_CONTAINS(error_of([&] { write_report({run}, directory / "bad.html"); }),
                  "short/config.yaml:1: not valid YAML");
  EXPECT_FALSE(std::filesystem::exists(directory / "bad.html"));
}

TEST(Summary, WithoutGnuplotThereIsOneLine) {
  const TemporaryDirectory directory;
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", "", 1);
  const std::string message = error_of([&] { write_report({example("a", 1)}, directory / "report.html"); });
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_CONTAINS(message, "plots need gnuplot");
  EXPECT_FALSE(contains(message, "\n"));
  EXPECT_FALSE(std::filesystem::exists(directory / "report.html"));
}

}  // namespace
}  // namespace incontext::report
