#pragma once

#include <cstdint>
#include <string>

#include "base/options.h"

namespace incontext::train {

/// The shape of the learning rate after the warm-up.
enum class ScheduleShape { constant, cosine, linear, warmup_stable_decay };
constexpr auto names_of(ScheduleShape) {
  using enum ScheduleShape;
  return std::to_array<base::EnumName<ScheduleShape>>(
      {{constant, "constant"}, {cosine, "cosine"}, {linear, "linear"}, {warmup_stable_decay, "warmup_stable_decay"}});
}

/// Learning rate as a pure function of the step.
struct ScheduleOptions {
  ScheduleShape name = ScheduleShape::constant;
  int64_t warmup_steps = 0;
  double final_fraction = 0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("name", name, "shape after the warm-up");
    v.field("warmup_steps", warmup_steps, "steps of linear warm-up from 0", base::at_least(0));
    v.field("final_fraction", final_fraction, "learning rate at the last step, as a fraction of the peak",
            base::between(0, 1));
  }
};

/// Factor in [0, 1] for step `step` (0-based) of `total`. During warm-up (step + 1) / warmup_steps; then 1 (constant),
/// a half cosine or a line down to final_fraction, or 1 until the last tenth and a line in it (warmup_stable_decay).
double schedule_factor(const ScheduleOptions& options, int64_t step, int64_t total);

/// A quantity that grows during training (Garg et al. 2022, section 3): start, plus `increment` every `interval` steps,
/// up to `end`.
struct Ramp {
  int64_t start = 0;
  int64_t end = 0;
  int64_t increment = 1;
  int64_t interval = 2000;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("start", start, "first value; 0: no curriculum, `end` from the start", base::at_least(0));
    v.field("end", end, "last value; 0: what the task or model says", base::at_least(0));
    v.field("increment", increment, "added at every interval", base::at_least(1));
    v.field("interval", interval, "steps between increments", base::at_least(1));
  }

  std::string validate() const {
    return start > 0 && end > 0 && start > end ? fmt::format("start {} is beyond end {}", start, end) : "";
  }

  int64_t at(int64_t step) const {
    if (start == 0) return end;
    return std::min(end, start + increment * (step / interval));
  }
};

}  // namespace incontext::train
