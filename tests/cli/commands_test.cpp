// Each command as a user types it.

#include "base/file.h"
#include "cli/program.h"

namespace incontext::testing {
namespace {

using base::Json;

TEST(Commands, HelpEverywhereWithAnExample) {
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{}, {"train"}, {"eval"}, {"report"}, {"bench", "train"}}) {
    std::vector<std::string> arguments = command;
    arguments.emplace_back("--help");
    const CommandResult result = incontext_with(arguments);
    EXPECT_EQ(result.status, 0);
    EXPECT_NE(result.out.find("Example:"), std::string::npos) << result.out;
  }
  EXPECT_NE(incontext_with({"train", "--list-options"}).out.find("training.learning_rate"), std::string::npos);
  EXPECT_NE(incontext_with({"eval", "--list-options"}).out.find("baselines.predictors"), std::string::npos);
}

TEST(Commands, TrainEvalReportWithJsonAlone) {
  const TemporaryDirectory place;
  const std::string run = (place / "run").string();
  const std::string config =
      write_text(place / "config.yaml", tiny_config("  loop_window: 2\n") + "inherit: base.yaml\n");
  write_text(place / "base.yaml", "model: {loop: {count: 3}}\n");

  const CommandResult train = incontext_with({"train", config, "--out", run, "--json"});
  ASSERT_EQ(train.status, 0) << train.err;
  const Json trained = Json::parse(train.out);
  EXPECT_EQ(trained["steps"], 12);
  EXPECT_TRUE(std::filesystem::exists(trained["checkpoint"].get<std::string>() + "/config.json"));

  const CommandResult eval = incontext_with({"eval", run, "--json", "--set", "prompts=8", "--set",
                                             "kinds=[standard, orthogonal_query]", "--set", "by_loop=5"});
  ASSERT_EQ(eval.status, 0) << eval.err;
  bool least_squares = false;
  bool fifth_loop = false;
  const Json evaluated = Json::parse(eval.out);
  for (const Json& record : evaluated["records"]) {
    const Json& setting = record["setting"];
    // Three noise-free examples determine three weights.
    if (record["what"] == "squared_error" && setting["predictor"] == "least_squares" && setting["examples"] == 4) {
      least_squares = true;
      EXPECT_LT(record["value"].get<double>(), 1e-8);
    }
    fifth_loop = fifth_loop || (record["what"] == "squared_error_by_loop" && setting["loops"] == 5);
  }
  EXPECT_TRUE(least_squares);
  EXPECT_TRUE(fifth_loop);

  // With two of three dimensions in use, two examples are enough.
  const CommandResult stage =
      incontext_with({"eval", run, "--json", "--quiet", "--set", "prompts=8", "--set", "active_dims=2"});
  ASSERT_EQ(stage.status, 0) << stage.err;
  int found = 0;
  const Json of_stage = Json::parse(stage.out);
  for (const Json& record : of_stage["records"]) {
    const Json& setting = record["setting"];
    if (record["what"] != "squared_error" || setting["predictor"] != "least_squares") continue;
    EXPECT_EQ(setting["active_dims"], 2);
    const double error = record["value"].get<double>();
    if (setting["examples"] == 1) {
      EXPECT_GT(error, 1e-3);
    } else if (setting["examples"] == 2) {
      EXPECT_LT(error, 1e-6);
    }
    found += setting["examples"] == 1 || setting["examples"] == 2;
  }
  EXPECT_EQ(found, 2);

  const std::string page = (place / "report.html").string();
  const CommandResult report = incontext_with({"report", run, "--out", page, "--json"});
  ASSERT_EQ(report.status, 0) << report.err;
  EXPECT_EQ(Json::parse(report.out)["files"][0], page);
  EXPECT_NE(base::read_file(page).find("<svg"), std::string::npos);
  EXPECT_NE(base::read_file(page).find("least squares"), std::string::npos) << "the evaluation's records";
}

TEST(Commands, EvaluationIsTheSameEveryTime) {
  const TemporaryDirectory place;
  const std::string run = (place / "run").string();
  ASSERT_EQ(incontext_with({"train", write_text(place / "c.yaml", tiny_config()), "--out", run, "--quiet"}).status, 0);
  const std::vector<std::string> arguments = {"eval", run, "--quiet", "--json", "--set", "prompts=8"};
  const std::string first = incontext_with(arguments).out;
  std::vector<std::string> threaded = arguments;
  threaded.insert(threaded.end(), {"--threads", "1"});
  EXPECT_EQ(incontext_with(threaded).out, first);
  EXPECT_NE(first.find("squared_error"), std::string::npos);
}

TEST(Commands, BenchTrainPrintsOneObject) {
  const CommandResult result =
      incontext_with({"bench", "train", "--models", "tiny", "--seconds", "0.1", "--peer", "", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json row = Json::parse(result.out)["results"][0];
  EXPECT_EQ(row["model"], "tiny");
  EXPECT_GT(row["steps_per_second"].get<double>(), 0);
  EXPECT_GT(row["share_of_fp32_peak"].get<double>(), 0);
  EXPECT_LT(row["share_of_fp32_peak"].get<double>(), 1.1);
  EXPECT_TRUE(row["ratio"].is_null());
}

TEST(Commands, BenchTrainTellsWhomItComparesWith) {
  const TemporaryDirectory place;
  // A Python that tells a version, and takes every script for one of a fixed speed.
  const std::string python = write_text(place / "python",
                                        "#!/bin/sh\n[ \"$1\" = -c ] && { echo 1.99.0+cpu; exit; }\n"
                                        "echo \"$@\" >> '" +
                                            (place / "calls").string() +
                                            "'\necho '{\"results\": [{\"steps_per_second\": 2, "
                                            "\"peak_memory_bytes\": 1048576, \"losses\": [1], "
                                            "\"torch\": \"1.99.0+cpu\"}]}'\n");
  std::filesystem::permissions(python, std::filesystem::perms::owner_all);
  const std::vector<std::string> arguments = {"bench",       "train",    "--models",  "tiny",   "--seconds",
                                              "0.3",         "--python", python,      "--peer", "some_script.py",
                                              "--precision", "bf16",     "--threads", "1"};
  const CommandResult shown = incontext_with(arguments);
  ASSERT_EQ(shown.status, 0) << shown.err;
  EXPECT_NE(shown.out.find("peer: PyTorch 1.99.0+cpu of " + python + ", bf16 by autocast\n"), std::string::npos)
      << shown.out;
  EXPECT_NE(base::read_file(place / "calls").find("--precision bf16"), std::string::npos);

  std::vector<std::string> as_json = arguments;
  as_json.emplace_back("--json");
  const CommandResult told = incontext_with(as_json);
  ASSERT_EQ(told.status, 0) << told.err;
  const Json row = Json::parse(told.out)["results"][0];
  EXPECT_EQ(row["precision"], "bf16");
  EXPECT_EQ(row["peer_precision"], "bf16");
  EXPECT_EQ(row["peer_torch"], "1.99.0+cpu");
  EXPECT_EQ(row["peer_python"], python);
  EXPECT_EQ(row["peer_steps_per_second"], 2);

  write_text(place / "python", "#!/bin/sh\necho \"No module named 'torch'\" >&2\nexit 1\n");
  expect_one_line_error(incontext_with(as_json), {"--python", "has no torch: No module named 'torch'"});
}

}  // namespace
}  // namespace incontext::testing
