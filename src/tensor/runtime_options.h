#pragma once

#include <cstdint>
#include <string>

#include "base/options.h"

namespace incontext::tensor {

struct RuntimeOptions {
  std::string device = "cpu";
  int64_t threads = 0;
  template <class Visitor>
  void visit(Visitor& v) {
    v.field("device", device, "where tensors live: cpu, cuda or cuda:N");
    v.field("threads", threads, "processor threads; 0 means all this process may use", base::between(0, 1024));
  }
};

}  // namespace incontext::tensor
