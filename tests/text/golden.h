#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <string>

namespace incontext::text {

inline std::filesystem::path golden_folder() {
  return std::filesystem::path(INCONTEXT_SOURCE_DIR) / "tests" / "golden" / "text";
}

inline nlohmann::json read_golden(const std::filesystem::path& relative) {
  std::ifstream file(golden_folder() / relative);
  return nlohmann::json::parse(file);
}

}  // namespace incontext::text
