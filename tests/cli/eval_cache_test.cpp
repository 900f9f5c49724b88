// `incontext eval MODEL --cache POLICY`, and caches in `bench decode`.

#include <csignal>

#include "base/file.h"
#include "cli/program.h"
#include "support/errors.h"
#include "support/shared_model.h"

namespace incontext::testing {
namespace {

namespace fs = std::filesystem;
using base::Json;

class CacheEvaluation : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(stories())) GTEST_SKIP() << without_stories();
    std::string text;
    for (int i = 0; i < 300; ++i) text += i % 3 == 0 ? "The little dog saw a big ball. " : "Lily was happy and sad. ";
    write_text(place_ / "story.txt", text);
    write_text(place_ / "short.txt", "Once upon a time.");
  }

  std::string path(const char* name) const { return (place_ / name).string(); }
  std::vector<std::string> arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> all = {"eval", stories().string(), "--out", path("out"), "--documents",
                                    "2",    "--generated",      "8",     "--scored",  "20"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  CommandResult eval(const std::vector<std::string>& more) const { return incontext_with(arguments(more)); }
  void refuses(const std::vector<std::string>& more, const std::vector<std::string>& words) const {
    std::vector<std::string> all = more;
    all.emplace_back("--quiet");
    expect_one_line_error(eval(all), words);
    EXPECT_FALSE(fs::exists(place_ / "out")) << "nothing was measured, and nothing is left";
  }

  TemporaryDirectory place_;
};

TEST_F(CacheEvaluation, IsRecordedPrintedAndDrawn) {
  const CommandResult result = eval({"--cache", "full", "--cache", "full:bf16", "--text", path("story.txt"),
                                     "--context", "32,64", "--json", "--loss", "0.05"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out);
  ASSERT_EQ(json["results"].size(), 8U);
  int compared = 0;
  for (const Json& row : json["results"]) {
    if (row["measure"] != "language") continue;
    ++compared;
    EXPECT_EQ(row["kl_mean"].get<double>() == 0, row["cache"] == "full") << row.dump();
    EXPECT_LT(row["kl_mean"].get<double>(), 0.01);
    EXPECT_GT(row["bytes_per_token"].get<double>(), 0);
    EXPECT_EQ(row["scored"], 40);
  }
  EXPECT_EQ(compared, 4);
  EXPECT_EQ(json["chosen"]["context"], 64);
  EXPECT_TRUE(json["chosen"]["cache"].is_string());
  const std::vector<base::Record> records = base::read_records(place_ / "out" / "records.jsonl");
  ASSERT_FALSE(records.empty());
  for (const base::Record& record : records) {
    EXPECT_CONTAINS(record.command, "eval");
    EXPECT_FALSE(record.machine.empty());
  }
  const std::string page = base::read_file(place_ / "out" / "report.html");
  EXPECT_CONTAINS(page, "<title>Caches: out");
  EXPECT_CONTAINS(page, "Divergence against bytes");
  EXPECT_CONTAINS(page, "full:bf16");
  // The same page from the records alone.
  const std::string again = path("again.html");
  ASSERT_EQ(incontext_with({"report", path("out"), "--out", again}).status, 0);
  EXPECT_EQ(base::read_file(again), page);
}

TEST_F(CacheEvaluation, PrintsTables) {
  const CommandResult result = eval(
      {"--cache", "full", "--cache", "full:bf16", "--text", path("story.txt"), "--context", "64", "--budget", "100%"});
  ASSERT_EQ(result.status, 0) << result.err;
  for (const char* words : {"Divergence from the full cache", "KL mean", "full:bf16", "What caches cost",
                            "Greedy continuations", "Within 100 % of the full cache's bytes at context 64: full "}) {
    EXPECT_CONTAINS(result.out, words);
  }
  EXPECT_CONTAINS(result.err, "100 %");
}

TEST_F(CacheEvaluation, AsksForFactsAgain) {
  const CommandResult result =
      eval({"--cache", "full:bf16", "--tasks", "retrieval", "--context", "320", "--samples", "1", "--json", "--quiet"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json rows = Json::parse(result.out)["results"];
  ASSERT_EQ(rows.size(), 12U) << "two policies, three tasks, the question known or not";
  for (const Json& row : rows) {
    EXPECT_TRUE(row["question"] == "known" || row["question"] == "unknown");
    EXPECT_GE(row["accuracy"].get<double>(), 0);
    EXPECT_EQ(row["depths"].size(), 1U);
  }
}

TEST_F(CacheEvaluation, RefusesInOneLine) {
  const std::string text = path("story.txt");
  refuses({"--cache", "fulll", "--text", text}, {"unknown kind of cache 'fulll'", "full"});
  refuses({"--cache", "full"}, {"--text", "at least one file"});
  refuses({"--cache", "full", "--text", path("none.txt")}, {"none.txt"});
  refuses({"--cache", "full", "--text", path("short.txt"), "--context", "64"},
          {"short.txt", "tokens; expected at least"});
  refuses({"--cache", "full", "--text", text, "--context", "100000"}, {"--context 100000", "it has room for"});
  refuses({}, {"not a run directory", "--cache POLICY"});
  refuses({"--text", text}, {"--cache POLICY"});
  refuses({"--cache", "full", "--text", text, "--budget", "25%"}, {"--budget", "--cache more than once"});
  refuses({"--cache", "full", "--text", text, "--loss", "0.1"}, {"--loss", "--cache more than once"});
  refuses({"--cache", "full", "--cache", "full:bf16", "--text", text, "--budget", "25"}, {"--budget", "25%", "'25'"});
  refuses({"--cache", "full", "--cache", "full:bf16", "--text", text, "--budget", "25%", "--loss", "1"},
          {"--budget or --loss, got both"});
  refuses({"--cache", "full", "--cache", "full:bf16", "--tasks", "retrieval", "--budget", "25%"},
          {"--tasks with language"});
  refuses({"--cache", "full", "--text", text, "--tasks", "speed"}, {"--tasks", "speed"});
  refuses({"--cache", "full", "--text", text, "--set", "prompts=2"}, {"--set"});
  refuses({"--cache", "full", "--cache", "full", "--text", text}, {"given twice"});
}

TEST_F(CacheEvaluation, IsStoppedWithWhatIsFinished) {
  const std::vector<std::string> all = {"eval",        stories().string(),
                                        "--out",       path("out"),
                                        "--cache",     "full:bf16",
                                        "--text",      path("story.txt"),
                                        "--context",   "32,64",
                                        "--documents", "20",
                                        "--scored",    "20",
                                        "--generated", "8",
                                        "--json"};
  const fs::path records = place_ / "out" / "records.jsonl";
  const CommandResult result = incontext_with(
      all, {.signal_when = [&](const std::string&,
                               const std::string&) { return fs::exists(records) && fs::file_size(records) > 0; },
            .signal = SIGTERM});
  ASSERT_TRUE(result.signalled) << result.err;
  EXPECT_EQ(result.status, 128 + SIGTERM);
  EXPECT_FALSE(base::read_records(records).empty());
  const Json json = Json::parse(result.out);
  EXPECT_EQ(json["interrupted"], true);
  EXPECT_EQ(json["results"].size(), 2U) << "language and free of the first context";
  EXPECT_TRUE(fs::exists(place_ / "out" / "report.html"));
}

TEST_F(CacheEvaluation, ABenchmarkMeasuresPoliciesInTurn) {
  const CommandResult result =
      incontext_with({"bench", "decode", stories().string(), "--depth", "0,200", "--tokens", "4", "--prefill", "64",
                      "--cache", "full:f32", "--cache", "full", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out);
  ASSERT_EQ(json["results"].size(), 4U);
  const Json &f32 = json["results"][2], &full = json["results"][3];
  EXPECT_EQ(f32["cache"], "full:f32");
  EXPECT_EQ(full["cache"], "full");
  EXPECT_EQ(full["depth"], 200);
  EXPECT_GT(full["cache_bytes"].get<int64_t>(), 0);
  EXPECT_GT(f32["cache_bytes"].get<int64_t>(), full["cache_bytes"].get<int64_t>());
  EXPECT_EQ(f32["bytes_per_token"].get<int64_t>() - f32["cache_bytes"].get<int64_t>(),
            full["bytes_per_token"].get<int64_t>() - full["cache_bytes"].get<int64_t>());
  EXPECT_EQ(full["ratio_to_full"], 1.0);
  EXPECT_GT(f32["ratio_to_full"].get<double>(), 0);
  EXPECT_EQ(json["prefill"]["caches"].size(), 2U);
  EXPECT_EQ(json["prefill"]["cache"], "full:f32");
  EXPECT_GE(json["prefill"]["compress_seconds"].get<double>(), 0);
  // Without the full cache there is nothing to be a ratio to.
  const CommandResult alone = incontext_with({"bench", "decode", stories().string(), "--depth", "0", "--tokens", "2",
                                              "--prefill", "0", "--cache", "full:f32", "--json"});
  ASSERT_EQ(alone.status, 0) << alone.err;
  EXPECT_TRUE(Json::parse(alone.out)["results"][0]["ratio_to_full"].is_null());
  expect_one_line_error(incontext_with({"bench", "decode", stories().string(), "--cache", "full", "--cache", "none"}),
                        {"unknown kind of cache 'none'"});
}

}  // namespace
}  // namespace incontext::testing
