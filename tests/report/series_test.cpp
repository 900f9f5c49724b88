#include "report/series.h"

#include <cmath>

#include "support/errors.h"

namespace incontext::report {
namespace {

using base::Json;
using base::Record;

Record error(double value, Json setting) { return {.what = "error", .value = value, .setting = std::move(setting)}; }

TEST(Series, MeansOverSeedsWithTheirRange) {
  std::vector<Record> records;
  for (const int64_t seed : {1, 2, 3}) {
    for (const int64_t n : {4, 2})
      records.push_back(error(10.0 * double(n) + double(seed), {{"n", n}, {"seed", seed}, {"who", "a"}}));
  }
  const std::vector<Curve> curves = collect(records, {.what = "error", .x = "n", .curve_by = {"who"}});
  ASSERT_EQ(curves.size(), 1U);
  ASSERT_EQ(curves[0].points.size(), 2U);
  const Point& first = curves[0].points[0];
  EXPECT_EQ(first.x, 2) << "by rising x";
  EXPECT_DOUBLE_EQ(first.y, 22);
  EXPECT_EQ(first.low, 21);
  EXPECT_EQ(first.high, 23);
  EXPECT_EQ(first.count, 3);
  EXPECT_TRUE(curves[0].has_band());
}

TEST(Series, ASingleRecordKeepsItsInterval) {
  Record record = error(5, {{"n", 1}});
  EXPECT_FALSE(collect({record}, {.what = "error", .x = "n"})[0].has_band());
  record.low = 4;
  record.high = 7;
  record.has_interval = true;
  const Curve curve = collect({record}, {.what = "error", .x = "n"})[0];
  EXPECT_EQ(curve.points[0].low, 4);
  EXPECT_EQ(curve.points[0].high, 7);
}

TEST(Series, PicksByWhatFilterAndAxis) {
  const std::vector<Record> records = {
      error(1, {{"n", 1}, {"task", "a"}}),
      error(2, {{"n", 1}, {"task", "b"}}),
      error(3, {{"task", "a"}}),
      {.what = "loss", .value = 4, .setting = {{"n", 1}, {"task", "a"}}},
  };
  const std::vector<Curve> curves = collect(records, {.what = "error", .filter = {{"task", "a"}}, .x = "n"});
  ASSERT_EQ(curves.size(), 1U);
  ASSERT_EQ(curves[0].points.size(), 1U);
  EXPECT_EQ(curves[0].points[0].y, 1);
  EXPECT_TRUE(collect(records, {.what = "other", .x = "n"}).empty());
  EXPECT_TRUE(collect(records, {.what = "error", .filter = {{"gone", 1}}, .x = "n"}).empty());
}

TEST(Series, NamesTellWhatDiffers) {
  std::vector<Record> records = {error(1, {{"n", 1}, {"run", "r"}, {"who", "model"}, {"loops", 4}}),
                                 error(1, {{"n", 1}, {"run", "r"}, {"who", "model"}, {"loops", 8}}),
                                 error(1, {{"n", 1}, {"run", "r"}, {"who", "ridge"}})};
  const Query query{.what = "error", .x = "n", .curve_by = {"run", "who", "loops"}};
  std::vector<Curve> curves = collect(records, query);
  ASSERT_EQ(curves.size(), 3U);
  EXPECT_EQ(curves[0].name, "model, loops 4");
  EXPECT_EQ(curves[1].name, "model, loops 8");
  EXPECT_EQ(curves[2].name, "ridge");
  EXPECT_EQ(curves[2].keys, (std::vector<std::string>{"r", "ridge", ""}));
  records.resize(1);
  EXPECT_EQ(collect(records, query)[0].name, "r") << "one curve is named by the first key";
}

TEST(Series, TheLastOfEqualRecordsWins) {
  const std::vector<Record> kept = last_of_each({error(1, {{"a", 1}, {"b", 2}}), error(2, {{"a", 1}, {"b", 3}}),
                                                 error(3, {{"b", 2}, {"a", 1}}), error(4, {{"a", "1"}, {"b", 2}})});
  ASSERT_EQ(kept.size(), 3U);
  EXPECT_EQ(kept[0].value, 2);
  EXPECT_EQ(kept[1].value, 3) << "the order of settings does not matter";
  EXPECT_EQ(kept[2].value, 4) << "text and number differ";
}

TEST(Series, TheLatestStepWins) {
  const std::vector<Record> kept =
      highest_of_each({error(1, {{"n", 1}, {"step", 10}}), error(2, {{"n", 1}, {"step", 9}}),
                       error(3, {{"n", 2}, {"step", 5}}), error(4, {{"n", 3}}), error(5, {{"n", 2}, {"step", 5}})},
                      "step");
  ASSERT_EQ(kept.size(), 3U);
  EXPECT_EQ(kept[0].value, 1);
  EXPECT_EQ(kept[1].value, 4);
  EXPECT_EQ(kept[2].value, 5) << "of the same step the last";
}

TEST(Series, AnAxisMustBeANumber) {
  EXPECT_EQ(testing::error_of([] {
              collect({error(1, {{"n", "many"}})}, {.what = "error", .x = "n"});
            }),
            "report: setting 'n' of a 'error' record: expected a number, got \"many\"");
}

TEST(Series, ThinningTakesMeansOfNeighbours) {
  Curve curve{.name = "c"};
  for (int i = 0; i < 10; ++i) curve.points.push_back({double(i), 2.0 * i, 2.0 * i - 1, 2.0 * i + 1, 1});
  const Curve thinned = thin(curve, 4);
  ASSERT_EQ(thinned.points.size(), 4U);
  EXPECT_DOUBLE_EQ(thinned.points[0].x, 1);
  EXPECT_DOUBLE_EQ(thinned.points[0].y, 2);
  EXPECT_DOUBLE_EQ(thinned.points[0].low, 1);
  EXPECT_EQ(thinned.points[0].count, 3);
  EXPECT_DOUBLE_EQ(thinned.points[3].x, 9) << "the rest";
  EXPECT_EQ(thin(curve, 10).points.size(), 10U);
}

}  // namespace
}  // namespace incontext::report
