#pragma once

#include "text/sentencepiece_module.h"

namespace incontext::text {

/// The module's functions, loaded on first use: from beside the program, or from where it was built. An Error when it
/// is in neither place.
const IncontextSentencePiece& sentencepiece_library();

}  // namespace incontext::text
