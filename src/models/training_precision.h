#pragma once

#include "base/enum_names.h"

namespace incontext::models {

/// What the factors of matrix products are rounded to in training (training.precision).
enum class TrainingPrecision { f32, tf32, bf16 };
constexpr auto names_of(TrainingPrecision) {
  using enum TrainingPrecision;
  return std::to_array<base::EnumName<TrainingPrecision>>({{f32, "f32"}, {tf32, "tf32"}, {bf16, "bf16"}});
}

}  // namespace incontext::models
