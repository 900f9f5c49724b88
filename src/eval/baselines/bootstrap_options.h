#pragma once

#include <cstdint>

#include "base/options.h"

namespace incontext::eval {

struct BootstrapOptions {
  int64_t resamples = 1000;
  double confidence = 0.9;
  uint64_t seed = 0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("resamples", resamples, "bootstrap samples behind an interval", base::at_least(1));
    v.field("confidence", confidence, "share of them inside it (0.9 in Garg et al.)", base::between(0, 1));
    v.field("seed", seed, "names the bootstrap samples");
  }
};

}  // namespace incontext::eval
