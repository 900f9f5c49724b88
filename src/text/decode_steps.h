#pragma once

#include <memory>
#include <string>

#include "text/decoder.h"
#include "text/pattern.h"

namespace incontext::text {

// The steps a decoder is put together from. Each gives over a whole text what the tokenizers library's decoder of the
// same name gives for the list of all tokens; what depends on later tokens is held back until it is certain.

Decoder::StepMaker byte_level_step();
/// Holds a run of byte tokens until it ends: one byte that fits nowhere makes U+FFFD of every byte of the run.
Decoder::StepMaker byte_fallback_step();
Decoder::StepMaker fuse_step();
Decoder::StepMaker replace_step(std::shared_ptr<const Pattern> pattern, std::string content);
Decoder::StepMaker metaspace_to_space_step();
Decoder::StepMaker strip_step(std::string content, size_t start, size_t stop);
Decoder::StepMaker metaspace_step(std::string replacement, bool drop_at_start);
/// The end-of-word suffix of every token but the last becomes a space, of the last nothing.
Decoder::StepMaker suffix_step(std::string suffix);
/// A space between tokens.
Decoder::StepMaker join_step();

}  // namespace incontext::text
