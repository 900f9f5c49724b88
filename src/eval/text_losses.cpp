#include "eval/text_losses.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "eval/baselines/bootstrap.h"
#include "models/next_tokens.h"

namespace incontext::eval {
namespace {

using base::Json;
using torch::Tensor;

void write_interval(const std::function<void(base::Record)>& write, const char* what, const char* unit,
                    const Interval& interval, Json setting) {
  base::Record record;
  record.what = what;
  record.value = interval.mean;
  record.low = interval.low;
  record.high = interval.high;
  record.has_interval = true;
  record.unit = unit;
  record.setting = std::move(setting);
  write(std::move(record));
}

template <class Map>
Interval mapped(const Interval& interval, const Map& map) {
  return {map(interval.mean), map(interval.low), map(interval.high)};
}

// First positions of groups 1, 2, 3-4, 5-8, … of `context` positions, and the end.
std::vector<int64_t> doubling_groups(int64_t context) {
  std::vector<int64_t> borders = {0};
  for (int64_t border = 1; border < context; border *= 2) borders.push_back(border);
  borders.push_back(context);
  return borders;
}

}  // namespace

void evaluate_text(const Subject& subject, const tasks::PackedText& text, const EvaluationOptions& options,
                   const std::function<void(base::Record)>& write,
                   const std::function<void(const std::string& what, double done)>& progress) {
  const double wanted = static_cast<double>(std::min(options.prompts, text.held_out_sequences()));
  const Tensor losses =
      models::held_out_losses(*subject.decoder, text, options.prompts, options.batch,
                              [&](int64_t done) { progress("held-out text", static_cast<double>(done) / wanted); });
  const Json setting = {{"run", subject.run},           {"task", base::name_of(tasks::TaskName::text)},
                        {"predictor", "model"},         {"step", subject.step},
                        {"seed", subject.trained.seed}, {"parameters", subject.decoder->parameter_count()},
                        {"sequences", losses.size(0)},  {"context", losses.size(1)}};
  const Interval mean = bootstrap_columns(losses.mean(1, /*keepdim=*/true), options.bootstrap).front();
  write_interval(write, "held_out_loss", "nats per token", mean, setting);
  write_interval(write, "perplexity", "", mapped(mean, [](double loss) { return std::exp(loss); }), setting);
  const double bits = 1 / (std::numbers::ln2 * text.held_out_bytes_per_token());
  write_interval(write, "bits_per_byte", "bits", mapped(mean, [&](double loss) { return loss * bits; }), setting);

  const std::vector<int64_t> borders = doubling_groups(losses.size(1));
  std::vector<Tensor> groups;
  for (size_t i = 0; i + 1 < borders.size(); ++i) {
    groups.push_back(losses.narrow(1, borders[i], borders[i + 1] - borders[i]).mean(1));
  }
  const std::vector<Interval> intervals = bootstrap_columns(torch::stack(groups, 1), options.bootstrap);
  for (size_t i = 0; i < intervals.size(); ++i) {
    Json at = setting;
    at["position"] = borders[i + 1];  // the last of the group
    write_interval(write, "token_loss", "nats per token", intervals[i], std::move(at));
  }
}

}  // namespace incontext::eval
