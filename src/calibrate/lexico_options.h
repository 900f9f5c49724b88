#pragma once

#include <cstdint>
#include <string>

#include "base/options.h"

namespace incontext::calibrate {

struct LexicoCalibrationOptions {
  int64_t atoms = 4096;
  int64_t sparsity = 8;
  int64_t tokens = 16384;
  int64_t context = 1024;
  int64_t steps = 100;
  int64_t batch = 2048;
  std::string update = "direct";
  double learning_rate = 0;
  bool means = true;
  std::string metric = "none";
  uint64_t seed = 0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("atoms", atoms, "atoms of each dictionary; a code keeps 12 bits for one", base::between(1, 4096));
    v.field("sparsity", sparsity, "non-zeros of the codes that atoms are fitted for", base::between(1, 128));
    v.field("tokens", tokens, "tokens of the texts that are read, at most", base::at_least(1));
    v.field("context", context, "tokens that are read together, each such window as a text of its own",
            base::at_least(1));
    v.field("steps", steps, "batches that each dictionary learns from", base::at_least(0));
    v.field("batch", batch, "vectors of a batch", base::at_least(1));
    v.field("update", update,
            "direct: atoms move to what fits their residuals; adam: projected gradients, as the paper",
            base::one_of({"direct", "adam"}));
    v.field("learning_rate", learning_rate, "of the first step, falling to zero; 0: 1 for direct, 0.01 for adam",
            base::at_least(0));
    v.field("means", means, "each KV head's mean is taken out first");
    v.field("metric", metric, "none, or queries: errors of keys count as much as queries look at them, by channel",
            base::one_of({"none", "queries"}));
    v.field("seed", seed, "of batches and first atoms");
  }
};

}  // namespace incontext::calibrate
