#include "models/layers/attention.h"
#include "models/layers/mixer.h"

namespace incontext::models {

base::Registry<MixerKind>& mixers() {
  static base::Registry<MixerKind> table("mixer", {{"attention", "softmax attention", make_attention}});
  return table;
}

}  // namespace incontext::models
