#include "train/schedule.h"

#include <gtest/gtest.h>

namespace incontext::train {
namespace {

TEST(Schedule, WarmsUpThenStays) {
  const ScheduleOptions options{.name = ScheduleShape::constant, .warmup_steps = 4};
  EXPECT_DOUBLE_EQ(schedule_factor(options, 0, 100), 0.25);
  EXPECT_DOUBLE_EQ(schedule_factor(options, 3, 100), 1.0);
  EXPECT_DOUBLE_EQ(schedule_factor(options, 99, 100), 1.0);
}

TEST(Schedule, CosineAndLinearFallToTheFinalFraction) {
  for (const ScheduleShape shape : {ScheduleShape::cosine, ScheduleShape::linear}) {
    const char* name = base::name_of(shape);
    const ScheduleOptions options{.name = shape, .warmup_steps = 10, .final_fraction = 0.2};
    EXPECT_DOUBLE_EQ(schedule_factor(options, 10, 110), 1.0) << name;
    EXPECT_NEAR(schedule_factor(options, 60, 110), 0.6, 1e-12) << name;
    EXPECT_NEAR(schedule_factor(options, 110, 110), 0.2, 1e-12) << name;
    for (int64_t step = 10; step < 110; ++step) {
      EXPECT_GT(schedule_factor(options, step, 110), schedule_factor(options, step + 1, 110)) << name << step;
    }
  }
}

TEST(Schedule, StableThenDecay) {
  const ScheduleOptions options{.name = ScheduleShape::warmup_stable_decay, .warmup_steps = 0, .final_fraction = 0};
  EXPECT_DOUBLE_EQ(schedule_factor(options, 89, 100), 1.0);
  EXPECT_NEAR(schedule_factor(options, 95, 100), 0.5, 1e-12);
}

TEST(Ramp, GrowsByIntervalsUpToItsEnd) {
  const Ramp ramp{.start = 5, .end = 8, .increment = 2, .interval = 10};
  EXPECT_EQ(ramp.at(0), 5);
  EXPECT_EQ(ramp.at(9), 5);
  EXPECT_EQ(ramp.at(10), 7);
  EXPECT_EQ(ramp.at(20), 8);
  EXPECT_EQ(ramp.at(1000), 8);
  EXPECT_EQ((Ramp{.start = 0, .end = 8}).at(0), 8) << "no curriculum";
}

}  // namespace
}  // namespace incontext::train
