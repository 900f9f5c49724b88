#pragma once

#include "models/families/family.h"

// The rows of families.cpp, one for each file of this folder.

namespace incontext::models {

Family gpt2_family();
Family incontext_family();
Family llama_family();
Family mistral_family();
Family opt_family();
Family phi3_family();
Family qwen2_family();
Family qwen3_family();

}  // namespace incontext::models
