#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/event_file.h"
#include "base/record.h"
#include "train/options.h"

namespace incontext::train {

/// The measurements of one run: records.jsonl, and beside it what TensorBoard or a spreadsheet reads (events…,
/// metrics.csv). The records are the truth: when a run resumes they are cut to the checkpoint's length and the other
/// logs are written anew from them, so that no step stands anywhere twice.
class RunLog {
 public:
  /// `formats` are the other logs. `keep_bytes` is how much of records.jsonl to keep.
  RunLog(const std::filesystem::path& run, const std::string& command, const std::vector<LogFormat>& formats,
         uint64_t keep_bytes);

  /// setting["step"], where present, is the step in the other logs.
  void write(const base::Record& record);
  uint64_t records_bytes() const { return records_->size(); }
  void sync();
  base::RecordWriter& records() { return *records_; }

 private:
  void write_others(const base::Record& record);

  std::unique_ptr<base::RecordWriter> records_;
  std::unique_ptr<base::EventFile> events_;
  std::unique_ptr<base::AppendFile> csv_;
};

}  // namespace incontext::train
