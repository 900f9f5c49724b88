#include "layers/violations.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <regex>

namespace incontext::testing {
namespace {

namespace fs = std::filesystem;

const std::map<std::string, int>& layers() {
  static const std::map<std::string, int> table = {
      {"base", 0},      {"kernels", 1}, {"text", 1},  {"report", 1}, {"hub", 1},   {"tensor", 2},
      {"ops", 3},       {"tasks", 3},   {"cache", 4}, {"models", 5}, {"train", 6}, {"decode", 6},
      {"calibrate", 6}, {"probe", 6},   {"eval", 7},  {"serve", 7},  {"cli", 8}};
  return table;
}

constexpr int kFirstLayerWithTorch = 2;

std::vector<std::string> lines_of(const fs::path& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

bool is_source(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".h" || extension == ".cpp" || extension == ".cu" || extension == ".cuh" || extension == ".inc";
}

// "" when the include is allowed in `folder`, else what is wrong.
std::string include_problem(const std::string& folder, int layer, const std::string& included) {
  if (included.find("..") != std::string::npos) return "leaves its folder by '..'";
  const std::string first = included.substr(0, included.find('/'));
  if (layer < kFirstLayerWithTorch && (first == "torch" || first == "ATen" || first == "c10")) {
    return fmt::format("is torch, which starts at layer {}", kFirstLayerWithTorch);
  }
  const auto target = layers().find(first);
  if (included.find('/') == std::string::npos || target == layers().end() || first == folder) return "";
  if (target->second < layer) return "";
  return fmt::format("is of layer {}, expected one below {}", target->second, layer);
}

void check_includes(const fs::path& root, std::vector<std::string>& found) {
  static const std::regex include(R"(^\s*#\s*include\s*["<]([^">]+)[">])");
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / "src")) {
    const fs::path relative = fs::relative(entry.path(), root / "src");
    if (!entry.is_regular_file() || !is_source(relative)) continue;
    const std::string folder = relative.begin()->string();
    const auto layer = layers().find(folder);
    if (layer == layers().end()) {
      found.push_back(fmt::format("src/{}: folder '{}' has no layer", relative.string(), folder));
      continue;
    }
    int number = 0;
    for (const std::string& line : lines_of(entry.path())) {
      ++number;
      std::smatch match;
      if (!std::regex_search(line, match, include)) continue;
      const std::string problem = include_problem(folder, layer->second, match[1]);
      if (problem.empty()) continue;
      found.push_back(fmt::format("src/{}:{}: '{}' {}", relative.string(), number, match[1].str(), problem));
    }
  }
}

bool names(const fs::path& cmake_file, const std::string& word) {
  for (const std::string& line : lines_of(cmake_file)) {
    const std::string code = line.substr(0, line.find('#'));
    constexpr const char* kSeparators = " \t()\";";
    for (size_t start = code.find(word); start != std::string::npos; start = code.find(word, start + 1)) {
      const size_t end = start + word.size();
      const bool begins = start == 0 || std::string(kSeparators).find(code[start - 1]) != std::string::npos;
      const bool ends = end == code.size() || std::string(kSeparators).find(code[end]) != std::string::npos;
      if (begins && ends) return true;
    }
  }
  return false;
}

bool is_test(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with("_test.cpp") || name.ends_with("_fuzz.cpp");
}

void check_registration(const fs::path& root, std::vector<std::string>& found) {
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / "tests")) {
    if (!entry.is_regular_file() || !is_test(entry.path())) continue;
    const fs::path relative = fs::relative(entry.path(), root / "tests");
    const fs::path folder = relative.has_parent_path() ? *relative.begin() : fs::path();
    if (!names(root / "tests" / folder / "CMakeLists.txt",
               fs::relative(relative, folder.empty() ? "." : folder).string())) {
      found.push_back(
          fmt::format("tests/{}: not named in tests/{}/CMakeLists.txt", relative.string(), folder.string()));
    }
    if (!folder.empty() && !names(root / "tests/CMakeLists.txt", folder.string())) {
      found.push_back(fmt::format("tests/{}: folder '{}' is not named in tests/CMakeLists.txt", relative.string(),
                                  folder.string()));
    }
  }
}

}  // namespace

std::vector<std::string> violations(const fs::path& root) {
  std::vector<std::string> found;
  check_includes(root, found);
  check_registration(root, found);
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace incontext::testing
