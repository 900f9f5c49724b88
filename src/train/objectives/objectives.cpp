#include "train/objectives/objective.h"
#include "train/objectives/regression.h"
#include "train/objectives/text.h"

namespace incontext::train {

base::Registry<ObjectiveKind>& objectives() {
  static base::Registry<ObjectiveKind> table("objective", {regression_objective(), text_objective()});
  return table;
}

}  // namespace incontext::train
