#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace incontext::testing {

/// A small model that was really trained, which is too large for the repository: in the folder that INCONTEXT_SHARED
/// names, or in ../shared. Tests that need it are skipped where it is absent; tiny random models of every family, which
/// are in the repository, are tested everywhere.
inline std::filesystem::path stories() {
  const char* shared = std::getenv("INCONTEXT_SHARED");
  return std::filesystem::path(shared != nullptr ? shared : std::string(INCONTEXT_SOURCE_DIR) + "/../shared") /
         "models/stories260K";
}

inline std::string without_stories() {
  return "no model at " + stories().string() + "; INCONTEXT_SHARED tells where to look";
}

/// A real instruct model of 135 million parameters, where its folder is at hand.
inline std::filesystem::path smollm2() {
  const char* named = std::getenv("INCONTEXT_SMOLLM2");
  return named != nullptr ? std::filesystem::path(named) : stories().parent_path() / "SmolLM2-135M-Instruct";
}

inline bool has_smollm2() { return std::filesystem::exists(smollm2() / "model.safetensors"); }

inline std::string without_smollm2() {
  return "no model at " + smollm2().string() + "; INCONTEXT_SMOLLM2 tells where SmolLM2-135M-Instruct is";
}

}  // namespace incontext::testing
