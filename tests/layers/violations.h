#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace incontext::testing {

/// Checks a source tree with the folders src/ and tests/ against the architecture, and returns one line per
/// violation, sorted:
///  - a file of src/ includes a folder that is not of a lower layer than its own,
///  - a file below layer 2 includes torch,
///  - a folder of src/ has no layer, or an include leaves its folder by "..",
///  - a *_test.cpp or *_fuzz.cpp file is not named in the CMakeLists.txt of its folder, or the folder not in that of
///  tests/.
/// There are no exceptions.
std::vector<std::string> violations(const std::filesystem::path& root);

}  // namespace incontext::testing
