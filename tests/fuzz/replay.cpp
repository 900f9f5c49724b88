// Feeds every file of a folder to a fuzz target. A fault ends the program; the last line names the file.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <set>

#include "base/file.h"
#include "fuzz/input.h"

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
    return 2;
  }
  try {
    std::set<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(arguments[1])) files.insert(entry.path());
    for (const std::filesystem::path& file : files) {
      std::printf("%s\n", file.filename().c_str());
      std::fflush(stdout);
      const std::string contents = incontext::base::read_file(file);
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(contents.data()), contents.size());
    }
    std::printf("%zu files\n", files.size());
    return files.empty() ? 1 : 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
