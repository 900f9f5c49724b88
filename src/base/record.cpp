#include "base/record.h"

#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/machine.h"

namespace incontext::base {
namespace {

namespace fs = std::filesystem;

// JSON has no NaN and no infinities.
Json number_to_json(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

double number_from_json(const Json& json, const char* key) {
  check(json.contains(key), "record: expected a field '{}'", key);
  const Json& field = json.at(key);
  if (field.is_number()) return field.get<double>();
  if (field == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (field == "inf") return std::numeric_limits<double>::infinity();
  if (field == "-inf") return -std::numeric_limits<double>::infinity();
  fail("record: {}: expected a number or \"nan\", \"inf\", \"-inf\", got {}", key, field.dump());
}

std::string text_from_json(const Json& json, const char* key) {
  if (!json.contains(key)) return "";
  const Json& field = json.at(key);
  check(field.is_string(), "record: {}: expected text, got {}", key, field.dump());
  return field.get<std::string>();
}

// A run that was killed within a write leaves half a line; what is appended next must not become part of it.
fs::path without_cut_line(const fs::path& path) {
  if (!fs::exists(path)) return path;
  const std::string contents = read_file(path);
  if (!contents.empty() && contents.back() != '\n') {
    const size_t newline = contents.rfind('\n');
    truncate_file(path, newline == std::string::npos ? 0 : newline + 1);
  }
  return path;
}

}  // namespace

Json record_to_json(const Record& record) {
  Json json;
  json["what"] = record.what;
  json["value"] = number_to_json(record.value);
  if (record.has_interval) {
    json["low"] = number_to_json(record.low);
    json["high"] = number_to_json(record.high);
  }
  if (!record.unit.empty()) json["unit"] = record.unit;
  json["setting"] = record.setting;
  if (!record.command.empty()) json["command"] = record.command;
  if (!record.version.empty()) json["version"] = record.version;
  if (!record.machine.empty()) json["machine"] = record.machine;
  return json;
}

Record record_from_json(const Json& json) {
  check(json.is_object(), "record: expected a JSON object, got {}", json.type_name());
  Record record;
  record.what = text_from_json(json, "what");
  check(!record.what.empty(), "record: expected a field 'what' that names the quantity");
  record.value = number_from_json(json, "value");
  record.has_interval = json.contains("low") || json.contains("high");
  if (record.has_interval) {
    record.low = number_from_json(json, "low");
    record.high = number_from_json(json, "high");
  }
  record.unit = text_from_json(json, "unit");
  if (json.contains("setting")) {
    record.setting = json.at("setting");
    check(record.setting.is_object(), "record: setting: expected an object, got {}", record.setting.type_name());
  }
  record.command = text_from_json(json, "command");
  record.version = text_from_json(json, "version");
  record.machine = text_from_json(json, "machine");
  return record;
}

RecordWriter::RecordWriter(const fs::path& path, std::string command)
    : file_(without_cut_line(path)), command_(std::move(command)), machine_(machine_description()) {}

void RecordWriter::write(Record record) {
  if (record.command.empty()) record.command = command_;
  if (record.version.empty()) record.version = version();
  if (record.machine.empty()) record.machine = machine_;
  // Bytes that are not UTF-8 (a command line may hold any) become the replacement character.
  file_.append(record_to_json(record).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::vector<Record> read_records(const fs::path& path) {
  const std::string contents = read_file(path);
  std::vector<Record> records;
  int64_t number = 0;
  for (size_t start = 0; start < contents.size();) {
    const size_t end = contents.find('\n', start);
    if (end == std::string::npos) break;
    ++number;
    const std::string_view line = std::string_view(contents).substr(start, end - start);
    start = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    try {
      records.push_back(record_from_json(Json::parse(line)));
    } catch (const Json::exception&) {
      fail("{}:{}: expected one JSON object per line, got '{}'", path.string(), number, line.substr(0, 60));
    } catch (const Error& error) {
      fail("{}:{}: {}", path.string(), number, error.what());
    }
  }
  return records;
}

}  // namespace incontext::base
