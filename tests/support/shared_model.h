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

}  // namespace incontext::testing
