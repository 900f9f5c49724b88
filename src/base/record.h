#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/config_node.h"
#include "base/file.h"

namespace incontext::base {

// The initializers "= {}" let callers name the fields they set and leave out the rest without a warning.

/// One measured number, and all that is needed to understand and repeat it. Stored as one JSON line:
///   {"what": "squared_error", "value": 0.031, "low": 0.029, "high": 0.033, "unit": "per dimension",
///    "setting": {"task": "linear_regression", "model": "looped", "examples": 10, "loops": 12, "step": 2000},
///    "command": "incontext eval runs/looped", "version": "0.1.0", "machine": "AMD EPYC, 2 threads, avx2"}
struct Record {
  std::string what = {};  // the field's name for the quantity: "loss", "squared_error", "steps_per_second"
  double value = 0;       // NaN and infinities are stored as the strings "nan", "inf", "-inf"
  std::string unit = {};  // "" for pure numbers
  double low = 0;         // confidence interval; stored only when has_interval
  double high = 0;
  bool has_interval = false;
  Json setting = Json::object();
  std::string command = {};  // these three are filled in by RecordWriter when empty
  std::string version = {};
  std::string machine = {};
};

Json record_to_json(const Record& record);
Record record_from_json(const Json& json);

/// Appends records to a JSONL file, one write(2) per record.
class RecordWriter {
 public:
  /// `command` is what the user typed.
  RecordWriter(const std::filesystem::path& path, std::string command);
  void write(Record record);
  /// Position for a later truncate_file(), so that a resumed run leaves no line twice.
  uint64_t size() const { return file_.size(); }
  void sync() { file_.sync(); }

 private:
  AppendFile file_;
  std::string command_;
  std::string machine_;
};

/// Reads every record of a JSONL file. A last line without its newline (a run that was cut off) is skipped;
/// any other malformed line is an Error with its number.
std::vector<Record> read_records(const std::filesystem::path& path);

}  // namespace incontext::base
