#pragma once

#include <filesystem>
#include <vector>

#include "cli/generation_flags.h"
#include "decode/engine.h"
#include "decode/opened_model.h"

namespace incontext::cli {

/// --load-cache: gives the engine what the file remembers, and returns how many tokens that are. Without the flag 0.
int64_t load_cache(const GenerationFlags& flags, const decode::OpenedModel& opened, decode::Engine& engine);

/// --save-cache: writes what the engine remembers of prompt and answer. Nothing without the flag.
void save_cache(const GenerationFlags& flags, const decode::OpenedModel& opened, const decode::Engine& engine,
                std::vector<int64_t> prompt, const std::vector<int64_t>& answer);

}  // namespace incontext::cli
