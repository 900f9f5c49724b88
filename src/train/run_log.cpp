#include "train/run_log.h"

#include <algorithm>

#include "base/csv.h"
#include "base/error.h"

namespace incontext::train {
namespace {

namespace fs = std::filesystem;

// "squared_error/least_squares/examples=10" tells curves of one quantity apart.
std::string tag_of(const base::Record& record) {
  std::string tag = record.what;
  for (const char* key : {"prompt", "predictor", "examples", "loops"}) {
    if (!record.setting.contains(key)) continue;
    const base::Json& value = record.setting[key];
    tag += value.is_string() ? fmt::format("/{}", value.get<std::string>()) : fmt::format("/{}={}", key, value.dump());
  }
  return tag;
}

}  // namespace

RunLog::RunLog(const fs::path& run, const std::string& command, const std::vector<LogFormat>& formats,
               uint64_t keep_bytes) {
  const fs::path records = run / "records.jsonl";
  const bool exists = fs::exists(records);
  base::check(exists || keep_bytes == 0, "{}: the checkpoint goes with {} bytes of records, but the file is gone",
              records.string(), keep_bytes);
  if (exists) {
    base::check(fs::file_size(records) >= keep_bytes, "{}: expected at least {} bytes, have {}", records.string(),
                keep_bytes, fs::file_size(records));
    base::truncate_file(records, keep_bytes);
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(run)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("events.out.tfevents.") || name == "metrics.csv") fs::remove(entry.path());
  }
  const auto wanted = [&](LogFormat format) {
    return std::find(formats.begin(), formats.end(), format) != formats.end();
  };
  if (wanted(LogFormat::tensorboard)) events_ = std::make_unique<base::EventFile>(run);
  if (wanted(LogFormat::csv)) {
    csv_ = std::make_unique<base::AppendFile>(run / "metrics.csv");
    csv_->append(base::csv_line({"step", "name", "value"}));
  }
  if (exists) {
    for (const base::Record& record : base::read_records(records)) write_others(record);
  }
  records_ = std::make_unique<base::RecordWriter>(records, command);
}

void RunLog::write(const base::Record& record) {
  records_->write(record);
  write_others(record);
}

void RunLog::write_others(const base::Record& record) {
  if (!record.setting.contains("step") || !record.setting["step"].is_number_integer()) return;
  const int64_t step = record.setting["step"];
  if (events_) events_->scalar(tag_of(record), record.value, step);
  if (csv_) csv_->append(base::csv_line({std::to_string(step), tag_of(record), fmt::format("{}", record.value)}));
}

void RunLog::sync() {
  records_->sync();
  if (events_) events_->sync();
  if (csv_) csv_->sync();
}

}  // namespace incontext::train
