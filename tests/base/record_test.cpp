#include "base/record.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/machine.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::base {
namespace {

using testing::error_of;
using testing::TemporaryDirectory;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST(Record, SurvivesWritingAndReading) {
  const TemporaryDirectory directory;
  Record full{.what = "squared_error", .value = 1.0 / 3, .unit = "per dimension", .low = 0.1, .high = 1e-30};
  full.has_interval = true;
  full.setting = {{"task", "line\nbreak \"quoted\""}, {"examples", 10}, {"deep", {{"list", {1, 2}}}}};
  full.command = "incontext eval";
  full.version = "9.9.9";
  full.machine = "abacus";
  RecordWriter writer(directory / "records.jsonl", "incontext train");
  writer.write(full);
  writer.write({.what = "loss", .value = 2});
  const std::vector<Record> records = read_records(directory / "records.jsonl");
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(record_to_json(records[0]), record_to_json(full));
  EXPECT_EQ(records[0].value, 1.0 / 3) << "every bit";
  EXPECT_FALSE(records[1].has_interval);
  EXPECT_EQ(records[1].command, "incontext train");
  EXPECT_EQ(records[1].version, version());
  EXPECT_EQ(records[1].machine, machine_description());
}

TEST(Record, KeepsNaNAndInfinities) {
  const TemporaryDirectory directory;
  RecordWriter writer(directory / "r", "c");
  for (const double value : {kNaN, kInfinity, -kInfinity}) {
    writer.write({.what = "loss", .value = value, .low = -kInfinity, .high = kNaN, .has_interval = true});
  }
  const std::vector<Record> records = read_records(directory / "r");
  ASSERT_EQ(records.size(), 3U);
  EXPECT_TRUE(std::isnan(records[0].value));
  EXPECT_EQ(records[1].value, kInfinity);
  EXPECT_EQ(records[2].value, -kInfinity);
  EXPECT_EQ(records[2].low, -kInfinity);
  EXPECT_TRUE(std::isnan(records[2].high));
}

TEST(Record, BytesThatAreNotUtf8DoNotStopTheWriter) {
  const TemporaryDirectory directory;
  RecordWriter(directory / "r", "incontext \xff").write({.what = "loss", .value = 1});
  EXPECT_EQ(read_records(directory / "r").at(0).command, "incontext \xEF\xBF\xBD");
}

TEST(Record, ACutLastLineIsSkippedAndNotContinued) {
  const TemporaryDirectory directory;
  RecordWriter(directory / "r", "c").write({.what = "loss", .value = 1});
  AppendFile(directory / "r").append("{\"what\": \"los");
  EXPECT_EQ(read_records(directory / "r").size(), 1U);
  RecordWriter(directory / "r", "c").write({.what = "loss", .value = 2});
  const std::vector<Record> records = read_records(directory / "r");
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[1].value, 2);
  write_file_atomic(directory / "only", "{\"wh");
  EXPECT_TRUE(read_records(directory / "only").empty());
  RecordWriter(directory / "only", "c").write({.what = "loss", .value = 3});
  EXPECT_EQ(read_records(directory / "only").size(), 1U);
}

TEST(Record, AMalformedLineIsAnErrorWithItsNumber) {
  const TemporaryDirectory directory;
  const std::string good = "{\"what\": \"loss\", \"value\": 1}\n";
  const auto error_for = [&](const std::string& line) {
    write_file_atomic(directory / "r", good + "\n" + line + "\n" + good);
    return error_of([&] { read_records(directory / "r"); });
  };
  EXPECT_CONTAINS(error_for("{\"what\": "), "r:3: expected one JSON object per line, got '{\"what\": '");
  EXPECT_CONTAINS(error_for("[1]"), "r:3: record: expected a JSON object, got array");
  EXPECT_CONTAINS(error_for("{\"value\": 1}"), "r:3: record: expected a field 'what'");
  EXPECT_CONTAINS(error_for("{\"what\": \"x\"}"), "r:3: record: expected a field 'value'");
  EXPECT_CONTAINS(error_for("{\"what\": \"x\", \"value\": \"much\"}"), "value: expected a number");
  EXPECT_CONTAINS(error_for("{\"what\": \"x\", \"value\": 1, \"low\": 1}"), "expected a field 'high'");
  EXPECT_CONTAINS(error_for("{\"what\": \"x\", \"value\": 1, \"setting\": 1}"), "setting: expected an object");
  EXPECT_CONTAINS(error_for("{\"what\": 1, \"value\": 1}"), "what: expected text");
  EXPECT_EQ(error_for(""), "no error") << "blank lines are no records";
  EXPECT_CONTAINS(error_of([&] { read_records(directory / "gone"); }), "cannot open");
}

TEST(Record, SizeIsAPositionToReturnTo) {
  const TemporaryDirectory directory;
  RecordWriter writer(directory / "r", "c");
  writer.write({.what = "a", .value = 1});
  const uint64_t position = writer.size();
  writer.write({.what = "b", .value = 1});
  truncate_file(directory / "r", position);
  EXPECT_EQ(read_records(directory / "r").size(), 1U);
}

}  // namespace
}  // namespace incontext::base
