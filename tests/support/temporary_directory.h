#pragma once

#include "base/temporary_directory.h"

namespace incontext::testing {
using base::TemporaryDirectory;
}  // namespace incontext::testing
