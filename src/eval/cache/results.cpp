#include "eval/cache/results.h"

#include <utility>

namespace incontext::eval {
namespace {

using base::Json;
using base::Record;

void add_summary(Json& json, const DivergenceSummary& summary) {
  json["kl_mean"] = summary.kl_mean;
  json["kl_median"] = summary.kl_median;
  json["kl_p999"] = summary.kl_p999;
  json["same_top"] = summary.same_top;
  json["perplexity"] = summary.perplexity;
}

Json language_json(const LanguageRow& row) {
  Json json = {{"measure", "language"},
               {"cache", row.cache},
               {"context", row.context},
               {"documents", row.documents},
               {"scored", row.summary.positions},
               {"bytes_per_token", row.bytes_per_token},
               {"share_of_full", row.share_of_full},
               {"fixed_bytes", row.fixed_bytes}};
  add_summary(json, row.summary);
  json["kl_mean_interval"] = {row.kl.low, row.kl.high};
  json["full_perplexity"] = row.full_perplexity;
  json["by_position"] = Json::array();
  for (const PositionGroup& group : row.by_position) {
    Json at = {{"first", group.first}, {"last", group.last}, {"scored", group.summary.positions}};
    add_summary(at, group.summary);
    json["by_position"].push_back(std::move(at));
  }
  json["read_seconds"] = row.read_seconds;
  json["compress_seconds"] = row.compress_seconds;
  json["decode_tokens_per_second"] = row.decode_tokens_per_second;
  json["ratio_to_full"] = row.ratio_to_full;
  return json;
}

Json free_json(const FreeRow& row) {
  return {{"measure", "free"},
          {"cache", row.cache},
          {"context", row.context},
          {"documents", row.documents},
          {"generated", row.generated},
          {"common_prefix", row.common_prefix.mean},
          {"common_prefix_interval", {row.common_prefix.low, row.common_prefix.high}},
          {"identical", row.identical}};
}

Json retrieval_json(const RetrievalRow& row) {
  Json json = {{"measure", "retrieval"},        {"cache", row.cache},
               {"context", row.context},        {"task", row.task},
               {"question", row.question},      {"samples", row.samples},
               {"accuracy", row.accuracy.mean}, {"accuracy_interval", {row.accuracy.low, row.accuracy.high}},
               {"depths", Json::array()}};
  for (const RetrievalRow::Depth& depth : row.depths) {
    json["depths"].push_back(
        {{"low", depth.low}, {"high", depth.high}, {"accuracy", depth.accuracy}, {"samples", depth.samples}});
  }
  return json;
}

// What all records of a row share.
template <class Row>
Json setting_of(const Row& row, const CacheResults& of) {
  return {{"model", of.model}, {"cache", row.cache}, {"kind", row.kind}, {"context", row.context}};
}

class Records {
 public:
  explicit Records(Json setting) : setting_(std::move(setting)) {}

  void add(const char* what, double value, const char* unit = "", const Json& more = Json::object()) {
    Record record{.what = what, .value = value, .unit = unit, .setting = setting_};
    record.setting.update(more);
    records_.push_back(std::move(record));
  }
  void add(const char* what, const Interval& interval, const char* unit = "", const Json& more = Json::object()) {
    add(what, interval.mean, unit, more);
    records_.back().low = interval.low;
    records_.back().high = interval.high;
    records_.back().has_interval = true;
  }
  std::vector<Record> take() { return std::move(records_); }

 private:
  Json setting_;
  std::vector<Record> records_;
};

}  // namespace

Json results_json(const CacheResults& results) {
  Json rows = Json::array();
  for (const LanguageRow& row : results.language) rows.push_back(language_json(row));
  for (const FreeRow& row : results.free) rows.push_back(free_json(row));
  for (const RetrievalRow& row : results.retrieval) rows.push_back(retrieval_json(row));
  return rows;
}

std::vector<Record> records_of(const LanguageRow& row, const CacheResults& of) {
  Json setting = setting_of(row, of);
  setting.update(
      {{"documents", row.documents}, {"scored", row.scored}, {"texts", of.texts}, {"text_digest", of.text_digest}});
  Records records(std::move(setting));
  const Json size = {{"bytes_per_token", row.bytes_per_token}};  // what divergence is drawn against
  records.add("kl_mean", {.mean = row.summary.kl_mean, .low = row.kl.low, .high = row.kl.high}, "nats", size);
  records.add("kl_median", row.summary.kl_median, "nats", size);
  records.add("kl_p999", row.summary.kl_p999, "nats", size);
  records.add("same_top", row.summary.same_top, "", size);
  records.add("perplexity", row.summary.perplexity, "", size);
  records.add("full_perplexity", row.full_perplexity, "");
  for (const PositionGroup& group : row.by_position) {
    const Json at = {{"position", group.last}, {"first_position", group.first}};
    records.add("kl_mean_by_position", group.summary.kl_mean, "nats", at);
    records.add("kl_median_by_position", group.summary.kl_median, "nats", at);
    records.add("kl_p999_by_position", group.summary.kl_p999, "nats", at);
    records.add("same_top_by_position", group.summary.same_top, "", at);
    records.add("perplexity_by_position", group.summary.perplexity, "", at);
  }
  records.add("bytes_per_token", row.bytes_per_token, "bytes");
  records.add("share_of_full", row.share_of_full);
  records.add("fixed_bytes", static_cast<double>(row.fixed_bytes), "bytes");
  records.add("read_seconds", row.read_seconds, "seconds");
  records.add("compress_seconds", row.compress_seconds, "seconds");
  records.add("decode_tokens_per_second", row.decode_tokens_per_second, "tokens per second");
  records.add("decode_ratio_to_full", row.ratio_to_full);
  return records.take();
}

std::vector<Record> records_of(const FreeRow& row, const CacheResults& of) {
  Json setting = setting_of(row, of);
  setting.update({{"documents", row.documents},
                  {"generated", row.generated},
                  {"texts", of.texts},
                  {"text_digest", of.text_digest}});
  Records records(std::move(setting));
  records.add("common_prefix", row.common_prefix, "tokens");
  records.add("identical_continuations", row.identical);
  return records.take();
}

std::vector<Record> records_of(const RetrievalRow& row, const CacheResults& of) {
  Json setting = setting_of(row, of);
  setting.update({{"task", row.task}, {"question", row.question}, {"samples", row.samples}});
  Records records(std::move(setting));
  records.add("retrieval_accuracy", row.accuracy);
  for (const RetrievalRow::Depth& depth : row.depths) {
    records.add("retrieval_accuracy_by_depth", depth.accuracy, "",
                {{"depth", (depth.low + depth.high) / 2}, {"samples_at_depth", depth.samples}});
  }
  return records.take();
}

}  // namespace incontext::eval
