#pragma once

#include <memory>
#include <string>

#include "text/tokenizer.h"

namespace incontext::text {

/// The tokenizer of models that read bytes: ids 0 … 255 are the bytes, 256 is "<|endoftext|>", which ends a text.
std::shared_ptr<const Tokenizer> byte_tokenizer();

/// The same as files of a Hugging Face folder: tokenizer.json (byte-level BPE without merges) and
/// tokenizer_config.json.
std::string byte_tokenizer_json();
std::string byte_tokenizer_config_json();

}  // namespace incontext::text
