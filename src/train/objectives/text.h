#pragma once

#include "train/objectives/objective.h"

namespace incontext::train {

/// "text": the cross-entropy of the next token of packed documents. Checkpoints open as language models.
ObjectiveKind text_objective();

}  // namespace incontext::train
