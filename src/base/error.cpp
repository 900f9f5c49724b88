#include "base/error.h"

#include <cstdio>
#include <cstdlib>

#include "base/text.h"

namespace incontext::base {

Error::Error(const std::string& message) : std::runtime_error(printable(message)) {}

void assertion_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "incontext: internal error at %s:%d: %s does not hold. Please report it.\n", file, line,
               condition);
  std::abort();
}

}  // namespace incontext::base
