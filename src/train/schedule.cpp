#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace incontext::train {

double schedule_factor(const ScheduleOptions& options, int64_t step, int64_t total) {
  if (step < options.warmup_steps) {
    return static_cast<double>(step + 1) / static_cast<double>(options.warmup_steps);
  }
  const auto line = [&](double progress) { return 1 - (1 - options.final_fraction) * std::clamp(progress, 0.0, 1.0); };
  const auto remaining = static_cast<double>(std::max<int64_t>(1, total - options.warmup_steps));
  const double progress = static_cast<double>(step - options.warmup_steps) / remaining;
  if (options.name == ScheduleShape::cosine)
    return line(0.5 * (1 - std::cos(std::numbers::pi * std::clamp(progress, 0.0, 1.0))));
  if (options.name == ScheduleShape::linear) return line(progress);
  if (options.name == ScheduleShape::warmup_stable_decay) return line((progress - 0.9) / 0.1);
  return 1;
}

}  // namespace incontext::train
