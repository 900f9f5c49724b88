// The help names every kind of cache, though the program that prints it does not have them.

#include "cache/kind.h"
#include "cli/program.h"
#include "support/errors.h"

namespace incontext::testing {
namespace {

TEST(CacheHelp, NamesEveryKind) {
  const std::string kinds = fmt::format(": {}, perhaps with options", fmt::join(cache::cache_kinds().names(), ", "));
  for (const char* command : {"generate", "chat", "serve"}) {
    EXPECT_CONTAINS(incontext_with({command, "--help"}).out, kinds);
  }
}

}  // namespace
}  // namespace incontext::testing
