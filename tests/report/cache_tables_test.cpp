#include "report/cache_tables.h"

#include <gtest/gtest.h>

#include "report/summary.h"
#include "support/errors.h"

namespace incontext::report {
namespace {

using base::Json;
using base::Record;

Record cache_record(const char* what, const char* cache, double value, const Json& more = Json::object()) {
  Record record{.what = what, .value = value};
  record.setting = {{"model", "toy"}, {"cache", cache}, {"kind", std::string(cache).substr(0, 4)}, {"context", 512}};
  record.setting.update(more);
  return record;
}

std::vector<Record> some_records() {
  std::vector<Record> records;
  const auto add_policy = [&](const char* cache, double bytes, double kl) {
    records.push_back(cache_record("kl_mean", cache, kl, {{"bytes_per_token", bytes}}));
    records.back().has_interval = kl > 0;
    records.back().low = kl / 2;
    records.back().high = kl * 2;
    records.push_back(cache_record("bytes_per_token", cache, bytes));
    records.push_back(cache_record("share_of_full", cache, bytes / 2000));
    records.push_back(cache_record("decode_ratio_to_full", cache, 1.25));
    for (const int position : {16, 32}) {
      records.push_back(cache_record("kl_mean_by_position", cache, kl * position, {{"position", position}}));
    }
    for (const char* task : {"needle", "key_values"}) {
      for (const char* question : {"known", "unknown"}) {
        const Json asked = {{"task", task}, {"question", question}};
        records.push_back(cache_record("retrieval_accuracy", cache, kl > 0.1 ? 0.5 : 1, asked));
        for (const double depth : {0.25, 0.75}) {
          Json at = asked;
          at["depth"] = depth;
          records.push_back(cache_record("retrieval_accuracy_by_depth", cache, depth, at));
        }
      }
    }
  };
  add_policy("full", 2000, 0);
  add_policy("fine:4", 600, 0.01);
  add_policy("fine:2", 300, 0.2);
  return records;
}

TEST(CacheTables, HaveARowForEachPolicy) {
  const Table table = divergence_table(some_records());
  ASSERT_EQ(table.rows.size(), 3U);
  EXPECT_CONTAINS(table.title, "model toy, context 512");
  EXPECT_EQ(table.rows[1][0], "fine:4");
  EXPECT_EQ(table.rows[1][1], "600");
  EXPECT_EQ(table.rows[1][2], "30");
  EXPECT_EQ(table.rows[1][3], "0.01 (0.005 to 0.02)");
  EXPECT_EQ(table.rows[1][4], "-") << "not measured";
  EXPECT_EQ(cache_cost_table(some_records()).rows[0].back(), "1.25");
  EXPECT_TRUE(continuation_table(some_records()).rows.empty());
}

TEST(CacheTables, OfRetrievalHaveTasksInColumns) {
  const Table table = retrieval_table(some_records());
  EXPECT_EQ(table.columns, (std::vector<std::string>{"cache", "needle, known", "needle, unknown", "key values, known",
                                                     "key values, unknown"}));
  ASSERT_EQ(table.rows.size(), 3U);
  EXPECT_EQ(table.rows[2], (std::vector<std::string>{"fine:2", "50", "50", "50", "50"}));
}

TEST(CacheSections, DrawPoliciesOfAKindAsOneCurve) {
  const std::vector<Section> sections = cache_sections(some_records());
  ASSERT_EQ(sections.size(), 3U);
  ASSERT_EQ(sections[0].plots.size(), 1U);
  const Plot& bytes = sections[0].plots[0];
  ASSERT_EQ(bytes.curves.size(), 2U);
  EXPECT_EQ(bytes.curves[1].curve.name, "fine");
  ASSERT_EQ(bytes.curves[1].curve.points.size(), 2U);
  EXPECT_EQ(bytes.curves[1].curve.points[0].x, 300);
  EXPECT_EQ(bytes.curves[1].curve.points[0].y, 0.2);
  EXPECT_EQ(bytes.curves[1].curve.points[0].high, 0.4);
  EXPECT_EQ(sections[1].plots[0].curves.size(), 3U);
  ASSERT_EQ(sections[2].plots.size(), 2U) << "the question known, and unknown";
  EXPECT_EQ(sections[2].plots[1].curves[0].curve.points[1].y, 0.75);
}

TEST(CacheSections, OfOtherRecordsAreNone) {
  Record loss{.what = "perplexity", .value = 3};
  EXPECT_TRUE(cache_sections({loss}).empty());
  EXPECT_TRUE(divergence_table({loss}).rows.empty());
}

TEST(CacheSummary, TellsCachesInEveryForm) {
  const std::vector<RunRecords> runs = {{.name = "out", .config_yaml = {}, .records = some_records()}};
  EXPECT_CONTAINS(terminal_summary(runs), "Divergence from the full cache");
  EXPECT_CONTAINS(markdown_summary(runs), "Retrieval");
  EXPECT_CONTAINS(csv_summary(runs), "kl_mean,out,,,,fine:2,,512,0.2,0.1,0.4,1");
}

}  // namespace
}  // namespace incontext::report
