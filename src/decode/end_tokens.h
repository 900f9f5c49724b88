#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace incontext::decode {

/// Every token that ends a turn, in this order: those that generation_config.json and config.json name (`model_ids`
/// too), the tokenizer's eos_token, and special tokens whose text is known to end turns ("<|im_end|>", "<|eot_id|>",
/// ...). Folders are known that name only the end of a text, and would talk on for both sides.
std::vector<int64_t> end_tokens(const text::Tokenizer& tokenizer, const std::vector<int64_t>& model_ids);

/// "<|im_end|> (2) and </s> (0)", for people.
std::string describe_tokens(const text::Tokenizer& tokenizer, const std::vector<int64_t>& ids);

}  // namespace incontext::decode
